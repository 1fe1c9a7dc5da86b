"""Measurements behind the figures the project states."""

from ttnn_verify import backend

backend.quiet()  # before a benchmark imports ttnn
