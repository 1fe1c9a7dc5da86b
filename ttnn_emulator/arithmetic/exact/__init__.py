"""Arithmetic as the device's kernels do it, step by step."""
