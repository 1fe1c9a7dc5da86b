"""A file that is written whole or not at all, whoever reads it or writes it meanwhile."""

import os
import pathlib
import tempfile


def write_text(path, text):
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
