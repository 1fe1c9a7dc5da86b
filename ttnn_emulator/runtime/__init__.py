"""What of TTNN's runtime is replaced beside its operations: transfers, tensors' methods, traces."""
