"""Process settings that importing this package needs, restored after the import.

Numba reads its cache folder when a function is decorated, and TTNN logs its whole configuration
when it is imported. Both settings are changed while the package imports its own modules, and
restored afterwards.
"""

import contextlib
import fcntl
import hashlib
import os
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Iterator

import numba

from ttnn_emulator.interpose import Layer, Level

KEPT_FOLDERS = 3  # of compiled code: those used last, for the current sources and earlier ones
PREFIX = "emulator-arithmetic-"

_in_use: list[int] = []  # descriptors whose locks say that this process uses a folder


@contextlib.contextmanager
def imports() -> Iterator[None]:
    """Within the block modules of this package may be imported."""
    arithmetic = pathlib.Path(__file__).parent / "arithmetic"
    folder = compiled_code_folder(arithmetic)
    with Layer("the place of compiled code", Level.STAND_IN) as layer, _ttnn_logs_nothing():
        layer.replace(numba.config, "CACHE_DIR", str(folder))
        yield
    prune(folder.parent)


def compiled_code_folder(sources: pathlib.Path) -> pathlib.Path:
    """The cache folder for compiled code of exactly these sources; created, and locked as in use.

    Numba's own cache notices a change of the file that holds a function, but not of files whose
    functions are inlined into it, and would run stale code that gives other bits.
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
    base = pathlib.Path(numba.config.__dict__["CACHE_DIR"] or usual)
    folder = base / f"{PREFIX}{digest.hexdigest()[:16]}"
    with contextlib.suppress(OSError):  # numba says by itself that a folder cannot be written
        folder.mkdir(parents=True, exist_ok=True)
        _in_use.append(_locked(folder, fcntl.LOCK_SH))
        os.utime(folder)  # its last use, which `prune` goes by
    return folder


def prune(base: pathlib.Path, count: int = KEPT_FOLDERS) -> None:
    """Remove folders of compiled code but the `count` ones used last and those in use now.

    A folder is in use while a process that computes with its code holds a lock on it.
    """
    with contextlib.suppress(OSError):  # another process may remove the same ones
        folders = sorted(base.glob(f"{PREFIX}*"), key=lambda folder: folder.stat().st_mtime)
        for folder in folders[: max(len(folders) - count, 0)]:
            _remove_unused(folder)


def _remove_unused(folder: pathlib.Path) -> None:
    try:
        descriptor = _locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # it is in use, or somebody else's, or on a disk that knows no locks
        return
    try:
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)


def _locked(folder: pathlib.Path, operation: int) -> int:
    """A descriptor that holds a lock on a folder, until it is closed or the process ends."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, operation)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


@contextlib.contextmanager
def _ttnn_logs_nothing() -> Iterator[None]:
    """TTNN's own log is off while it is imported, unless somebody has a say in it.

    Who has imported loguru may have configured it, and who sets LOGURU_LEVEL has asked for lines.
    """
    if {"ttnn", "loguru"} & set(sys.modules) or "LOGURU_LEVEL" in os.environ:
        yield
        return
    from loguru import logger  # here, because importing it makes its handler

    logger.disable("ttnn")
    try:
        yield
    finally:
        logger.enable("ttnn")
