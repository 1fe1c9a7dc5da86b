"""Pure tensor maths of the device: number formats, matrix and vector unit; nothing of ttnn."""

import hashlib
import os
import pathlib
import tempfile

import numba


def _cache_folder(sources: pathlib.Path) -> pathlib.Path:
    """The folder for compiled code of exactly these sources, kept between processes.

    Numba's own cache notices a change of the file that holds a function, but not of the files whose
    functions are compiled into it: it would go on with old code, which gives other bits.
    """
    digest = hashlib.sha256()
    for source in sorted(sources.rglob("*.py")):
        digest.update(
            str(source.relative_to(sources)).encode() + b"\0" + source.read_bytes() + b"\0"
        )
    beside = sources / "__pycache__"
    if os.access(sources, os.W_OK):
        beside.mkdir(exist_ok=True)
    usual = beside if os.access(beside, os.W_OK) else pathlib.Path(tempfile.gettempdir())
    base = pathlib.Path(numba.config.CACHE_DIR or usual)  # type: ignore[attr-defined]  # as below
    return base / f"emulator-arithmetic-{digest.hexdigest()[:16]}"


# Read by numba when a function is decorated, so before any module of this package is imported.
# numba.config gets its attributes at run time, so mypy does not know them.
_folder = str(_cache_folder(pathlib.Path(__file__).parent))
numba.config.CACHE_DIR = _folder  # type: ignore[attr-defined]
