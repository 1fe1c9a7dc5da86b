"""The console scripts of the package, which import their commands where Ctrl-C gives a line."""

from ttnn_verify import ending


def baseline() -> int:
    return ending.run("ttnn_verify.baseline.__main__")


def drift() -> int:
    return ending.run("ttnn_verify.drift.__main__")


def evaluate() -> int:
    return ending.run("ttnn_verify.eval_command")


def precision() -> int:
    return ending.run("ttnn_verify.precision.__main__")
