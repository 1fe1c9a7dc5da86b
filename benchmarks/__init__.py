"""Scripts that measure the figures stated in the documents."""

from ttnn_verify import backend

backend.quiet()  # before a benchmark imports ttnn
backend.spare_cores()  # and torch; as the commands do
