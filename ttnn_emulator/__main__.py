"""Run any TTNN script on an emulated n150: `python -m ttnn_emulator script.py ARGS`."""

import argparse
import pathlib
import runpy
import sys

import ttnn_emulator


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m ttnn_emulator",
        description="Run a TTNN script, as it is, on an emulated n150.",
    )
    parser.add_argument(
        "--arithmetic",
        choices=ttnn_emulator.ARITHMETICS,
        default=ttnn_emulator.DEFAULT_ARITHMETIC,
        help="kernel, the default: step by step as the device's kernels; rounded: float32, each "
        "result rounded once, quicker",
    )
    parser.add_argument("script", help="the script's file")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="the script's own arguments")
    options = parser.parse_args()
    script = pathlib.Path(options.script)
    if not script.is_file():
        parser.exit(2, f"error: {options.script} is not a file; give the path of a script.\n")

    ttnn_emulator.install(options.arithmetic)
    sys.argv = [str(script), *options.arguments]
    sys.path[0] = str(script.resolve().parent)
    runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    main()
