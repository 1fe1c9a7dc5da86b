"""Score a TTNN model against Hugging Face: the command `ttnn-eval` of a checkout."""

import sys

from ttnn_verify.eval_command import main

if __name__ == "__main__":
    sys.exit(main())
