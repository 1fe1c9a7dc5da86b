"""Recorded calls of TTNN's own kernels, made again on the emulated device and compared."""
