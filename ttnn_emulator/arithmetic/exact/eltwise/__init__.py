"""Elementwise kernels of two and of three operands."""
