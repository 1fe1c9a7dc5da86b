"""Scripts that measure the figures stated in the documents."""

from ttnn_verify import backend

backend.quiet()  # before a benchmark imports ttnn
