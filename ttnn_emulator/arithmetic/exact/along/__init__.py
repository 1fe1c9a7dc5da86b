"""Kernels that work along a dimension: scans, products, order, choice of tokens and experts."""
