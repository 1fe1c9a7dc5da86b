"""Comparing tensors: metrics, rounding, noise floors, tolerances. Pure torch."""
