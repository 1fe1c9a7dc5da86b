"""Noise floors of particular kernels: attention, norms, functions of the vector unit."""
