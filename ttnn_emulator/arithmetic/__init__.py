"""The device's arithmetic on torch tensors: number formats, matrix and vector unit. No ttnn."""
