"""Score a TTNN model against Hugging Face: the command `ttnn-eval` of a checkout."""

import sys

from ttnn_verify import console

if __name__ == "__main__":
    sys.exit(console.evaluate())
