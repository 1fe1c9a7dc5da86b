"""Weights as the device has them, in a folder: named by all that makes them, checked when read.

Beside each file of TTNN's lies its checksum, which covers the file's name: files that were swapped
are noticed as those that were damaged. Either is converted again, and a warning logged.
"""

import contextlib
import fcntl
import hashlib
import importlib.metadata
import logging
import os
import weakref
from pathlib import Path

import torch
import ttnn

FORMAT = 2  # of names and checksums; another one makes other files
CHUNK = 1 << 20  # bytes that are read at once
FILE, CHECKSUM, PARTIAL = ".tensorbin", ".sha256", ".tmp"  # what names end in; TTNN's but CHECKSUM

log = logging.getLogger(__name__)


class WeightCache:
    """A folder of converted weights. It is made, and what killed processes left in it removed."""

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.folder, os.O_RDONLY)
        weakref.finalize(self, os.close, descriptor)
        # no other process uses the folder: what is half written will not be finished
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for partial in self.folder.glob(f"*{PARTIAL}"):
                partial.unlink()
        with contextlib.suppress(OSError):  # a disk that knows no locks
            fcntl.flock(descriptor, fcntl.LOCK_SH)

    def name(
        self,
        tensor: torch.Tensor,
        dtype: ttnn.DataType,
        layout: ttnn.Layout,
        transposed: bool,
        mesh: tuple[int, ...] = (1, 1),
        split: int | None = None,
    ) -> Path:
        """The beginning of the file's path, to which TTNN adds. A damaged file is gone afterwards.

        Args:
            tensor: on the host, before it is transposed.
            dtype, layout, transposed: what is made of it.
            mesh: rows and columns of the chips that it is made for.
            split: the dimension of which each chip has a part; None if each has it whole.
        """
        shape = "x".join(map(str, tensor.shape))
        made = (
            f"{FORMAT} {_version()} {shape} {tensor.dtype} {transposed} {dtype} {layout} "
            f"{mesh} {split} "
        )
        digest = hashlib.sha256(made.encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy())
        name = self.folder / f"{shape}-{digest.hexdigest()[:32]}"
        for file in self._files(name):
            reason = _damage(file)
            if reason:
                log.warning("converted weight %s %s; it is made again", file, reason)
                file.unlink()
                _checksum_file(file).unlink(missing_ok=True)
        return name

    def seal(self, name: Path) -> None:
        """Write the checksum of the file that TTNN has made, unless it is there."""
        for file in self._files(name):
            checksum = _checksum_file(file)
            if not checksum.exists():
                partial = checksum.with_name(f"{checksum.name}.{os.getpid()}{PARTIAL}")
                partial.write_text(_checksum(file))
                os.replace(partial, checksum)

    def _files(self, name: Path) -> list[Path]:
        return sorted(self.folder.glob(f"{name.name}*{FILE}"))


def _version() -> str:
    return f"ttnn {importlib.metadata.version('ttnn')}"


def _damage(file: Path) -> str | None:
    """What is wrong with a file, in words; None if it is as it was written, and by this name."""
    try:
        expected = _checksum_file(file).read_text()
    except (OSError, UnicodeDecodeError):
        return "has no checksum"
    return None if _checksum(file) == expected else "is not what its checksum says"


def _checksum_file(file: Path) -> Path:
    return file.with_name(file.name + CHECKSUM)


def _checksum(file: Path) -> str:
    digest = hashlib.sha256(f"{file.name} ".encode())
    with file.open("rb") as opened:
        while chunk := opened.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
