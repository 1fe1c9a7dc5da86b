"""Which of TTNN's operations are emulated, and what their results are based on.

python -m ttnn_emulator.coverage [--write]
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

import loguru

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "coverage.md"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m ttnn_emulator.coverage", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--write", action="store_true", help="renew docs/coverage.md of the repository"
    )
    args = parser.parse_args(argv)
    if args.write and not PAGE.parent.is_dir():
        parser.error(f"there is no {PAGE.parent} to write to: this is no clone of the repository.")
    loguru.logger.disable("ttnn")
    from ttnn_emulator import device
    from ttnn_emulator.coverage import operations, page

    with device.open_device(arithmetic="kernel") as opened:
        text = "\n".join(page.lines(operations.rows(opened))) + "\n"
    if args.write:
        PAGE.write_text(text)
    else:
        sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
