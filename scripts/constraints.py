"""Print constraints.txt for the environment that runs this: a torch of one's own build stays.

PyPI's torch for Linux is the CUDA build. A build from elsewhere has a label in its version, such as
2.14.1+cpu: whoever installed it chose it, so the constraint becomes that very version.
"""

import importlib.metadata
import pathlib
import re
import sys

FILE = pathlib.Path(__file__).parents[1] / "constraints.txt"
LEAST = (2, 6)  # torch that transformers 5 loads models with


def kept() -> str | None:
    """The version of a torch that stays, None where there is none."""
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return None
    if "+" not in version:
        return None
    major, minor = re.match(r"(\d+)\.(\d+)", version).groups()
    if (int(major), int(minor)) < LEAST:
        least = ".".join(map(str, LEAST))
        sys.exit(f"torch {version} is in the environment; transformers needs {least} or later.")
    return version


def constraints(version: str | None) -> str:
    """The text of constraints.txt, with this version of torch if there is one."""
    text = FILE.read_text()
    return re.sub(r"(?m)^torch==.*$", f"torch=={version}", text) if version else text


if __name__ == "__main__":
    torch = kept()
    size = f"about 2 GB with torch {torch}, which stays" if torch else "about 6 GB"
    print(f"Installing {size}, a few minutes.", file=sys.stderr)
    print(constraints(torch), end="")
