"""Measurements behind the figures the project states."""
