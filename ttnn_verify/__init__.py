"""Compares what a TTNN model computes with what Hugging Face's computes."""

import itertools
import sys

from ttnn_verify import ending


def _named_by_m() -> bool:
    """Whether Python is importing a module of this package because `-m` names it."""
    if sys.argv[:1] != ["-m"]:  # as it is until the module is found
        return False
    named = itertools.dropwhile(lambda arg: not arg.startswith("-m"), sys.orig_argv)
    return "".join(itertools.islice(named, 2)).startswith(f"-m{__name__}")


if _named_by_m():  # imports are slow, and no command is there yet to say how it ends
    ending.at_once()
