"""What the bindings of operations of two and three tensors share."""
