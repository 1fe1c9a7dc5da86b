"""Arithmetic in float32, rounded once."""
