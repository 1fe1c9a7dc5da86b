"""Run any TTNN script on an emulated system: `python -m ttnn_emulator script.py ARGS`."""

import argparse
import pathlib
import runpy
import sys
from collections.abc import Sequence
from typing import NoReturn

import ttnn_emulator
from ttnn_emulator.machine import systems


class ScriptParser(argparse.ArgumentParser):
    """A parser that reports an error in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message.rstrip('.')}.\n")


def check_script(script: pathlib.Path) -> str:
    """Why a file is no script of Python, in a sentence; "" if it is one.

    What a script does when it runs is its own affair, with its own traceback.
    """
    try:
        if not script.is_file():
            return f"{script} is not a file; give the path of a script."
        compile(script.read_bytes(), str(script), "exec")
    except OSError as error:
        return f"script {str(script)[:200]!r}: {error.strerror}."
    except SyntaxError as error:
        place = f" (line {error.lineno})" if error.lineno else ""
        return f"script {str(script)!r} is not Python: {error.msg}{place}."
    except (ValueError, MemoryError, RecursionError) as error:  # null characters; nested deeply
        reason = str(error).rstrip(".") or type(error).__name__
        return f"script {str(script)!r} is not Python: {reason}."
    return ""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = ScriptParser(
        prog="python -m ttnn_emulator",
        description="Run a TTNN script, as it is, on an emulated n150, n300 or T3000.",
    )
    parser.add_argument(
        "--arithmetic",
        choices=ttnn_emulator.ARITHMETICS,
        default=ttnn_emulator.DEFAULT_ARITHMETIC,
        help="kernel, the default: step by step as the device's kernels; rounded: float32, each "
        "result rounded once, quicker",
    )
    parser.add_argument(
        "--system",
        choices=systems.SYSTEMS,
        default=systems.N150.name,
        help="what is emulated: 1, 2 or 8 chips; default n150",
    )
    parser.add_argument("script", help="the script's file")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="the script's own arguments")
    options = parser.parse_args(arguments)
    script = pathlib.Path(options.script)
    reason = check_script(script)
    if reason:
        parser.error(reason)

    ttnn_emulator.install(options.arithmetic, system=options.system)
    sys.argv = [str(script), *options.arguments]
    sys.path[0] = str(script.resolve().parent)
    runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    main()
