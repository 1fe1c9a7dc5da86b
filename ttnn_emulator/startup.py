"""Process settings that importing this package needs, restored after the import.

Numba reads its cache folder when a function is decorated, and TTNN logs its whole configuration
when it is imported. Both settings are changed while the package imports its own modules, and
restored afterwards.
"""

import contextlib
import hashlib
import logging
import os
import pathlib
import sys
from collections.abc import Iterator

import numba

from ttnn_emulator.interpose import Layer, Level
from ttnn_emulator.machine import folders

KEPT_FOLDERS = 3  # of compiled code: those used last, for the current sources and earlier ones
PREFIX = "emulator-arithmetic-"

log = logging.getLogger(__name__)


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

    What lies there is run. It is kept where numba is told to, else beside the sources, else in the
    user's cache folder, and only in a folder that nobody but the user, or the sources' owner, may
    write; where there is none, the code is compiled for this process alone.
    """
    digest = hashlib.sha256()
    for source in sorted(sources.rglob("*.py")):
        digest.update(
            str(source.relative_to(sources)).encode() + b"\0" + source.read_bytes() + b"\0"
        )
    name, refusals = f"{PREFIX}{digest.hexdigest()[:16]}", []
    for base, trusted in _bases(sources):
        folder = base / name
        refusal = folders.private(folder, trusted)
        if refusal is None:
            folders.use(folder)
            os.utime(folder)  # its last use, which `prune` goes by
            return folder
        refusals.append(refusal)
    log.warning("code is compiled anew, and not kept: %s", "; ".join(refusals) or "no folder")
    return folders.temporary(PREFIX)


def _bases(sources: pathlib.Path) -> Iterator[tuple[pathlib.Path, tuple[int, ...]]]:
    """Where compiled code may be kept, in order, and who may have written it beside this user."""
    named = numba.config.__dict__["CACHE_DIR"]
    if named:
        yield pathlib.Path(named).absolute(), ()
        return
    if os.access(sources, os.W_OK):
        yield sources / "__pycache__", (sources.stat().st_uid,)
    cache = folders.user_cache()
    if cache:
        yield cache / "ttnn-emulator", ()


def prune(base: pathlib.Path, count: int = KEPT_FOLDERS) -> None:
    """Remove folders of compiled code but the `count` ones used last and those in use now.

    A folder is in use while a process that computes with its code holds a lock on it.
    """
    with contextlib.suppress(OSError):  # another process may remove the same ones
        kept = sorted(base.glob(f"{PREFIX}*"), key=lambda folder: folder.stat().st_mtime)
        for folder in kept[: max(len(kept) - count, 0)]:
            folders.remove_unused(folder)


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
