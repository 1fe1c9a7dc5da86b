"""Measurements behind the figures the project states."""

from verify import backend

backend.quiet()  # before a benchmark imports ttnn
