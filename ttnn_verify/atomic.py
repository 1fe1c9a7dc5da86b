"""A file that is written whole or not at all, whoever reads it or writes it meanwhile.

Own code, because the libraries that do it fall short: `atomicwrites` is given up, and `safer`
leaves a new file readable to its owner alone, so a report of CI could be read by nobody else.
"""

import os
import pathlib
import tempfile


def write_text(path: str | pathlib.Path, text: str) -> None:
    """Put `text` in place of the file at `path`, making its folder where there is none."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # beside it, because a file is only renamed in one step within a file system
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(name, 0o644)  # mkstemp makes it for its owner alone
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
