"""What determines the verdicts on a call, as a key: operation, arguments, results, and the code.

Two calls with the same key have the same verdicts. Whatever is not seen through here has no key.
"""

import functools
import hashlib
import importlib.metadata
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch.utils.weak import WeakTensorKeyDictionary

from ttnn_verify.drift.observed import Observed
from ttnn_verify.ops import table
from ttnn_verify.ops.spec import PLACEMENT

PACKAGE = pathlib.Path(__file__).parents[2]
CODE = ("ops", "numerics", "drift/judgement/judging.py", "drift/finding.py", "drift/reuse")

DEEPEST = 6  # of arguments within arguments


class NoKey(ValueError):
    """Nothing tells one value of an argument from another."""


class CallKeys:
    """Keys of calls. The hash of a tensor, to which nobody writes, is made once."""

    def __init__(self) -> None:
        self._hashes = WeakTensorKeyDictionary()

    def of_operands(self, observed: Observed, accurate: bool) -> bytes:
        """The key of everything but the values of the results.

        Raises:
            NoKey: an argument is of a kind that is not known.
        """
        ignored = PLACEMENT | table.spec_of(observed.name).ignored
        kwargs = {n: x for n, x in observed.operands.kwargs.items() if n not in ignored}
        results = tuple((result.dtype, result.shape) for result in observed.results)
        caches = len(observed.operands.sources)
        parts = (observed.name, accurate, caches, results, observed.operands.args, kwargs)
        if table.spec_of(observed.name).spans_chips:
            return hash_of(of_code(CODE), self._encoded((*parts, observed.mesh, observed.chip)))
        return hash_of(of_code(CODE), self._encoded(parts))

    def of_results(self, observed: Observed, operands: bytes) -> bytes:
        """The key of the call with its results, from that of its operands."""
        return hash_of(operands, self._encoded(tuple(result.values for result in observed.results)))

    def _encoded(self, value: Any, depth: int = 0) -> str:
        """A value in words that no other value has."""
        if depth > DEEPEST:
            raise NoKey(f"{value!r} is within too much else.")
        if value is None or isinstance(value, (bool, int, float, str)):
            return f"{type(value).__name__} {value!r}"
        if isinstance(value, torch.Tensor):
            return self._of_tensor(value)
        if isinstance(value, (list, tuple)):
            return "[" + ", ".join(self._encoded(one, depth + 1) for one in value) + "]"
        pairs = sorted(value.items()) if isinstance(value, Mapping) else _attributes(value)
        encoded = ", ".join(f"{name!r}: {self._encoded(one, depth + 1)}" for name, one in pairs)
        return f"{type(value).__qualname__} {{{encoded}}}"

    def _of_tensor(self, tensor: torch.Tensor) -> str:
        if tensor not in self._hashes:
            data = tensor.detach().contiguous().flatten().view(torch.uint8).numpy()
            self._hashes[tensor] = hashlib.sha256(data).hexdigest()
        return f"tensor {tensor.dtype} {tuple(tensor.shape)} {self._hashes[tensor]}"


def _attributes(value: Any) -> list[tuple[str, Any]]:
    """What Python sees of an object of TTNN's; of one that shows nothing, how it prints."""
    names = [name for name in dir(value) if not name.startswith("_")]
    pairs = [(name, one) for name in names if not callable(one := getattr(value, name))]
    if pairs:
        return pairs
    printed = repr(value)
    if " at 0x" in printed:
        raise NoKey(f"{printed} shows nothing of itself.")
    return [("", printed)]


def hash_of(*parts: str | bytes) -> bytes:
    """Of a sequence of parts."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode() if isinstance(part, str) else part
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.digest()


@functools.cache
def of_code(names: tuple[str, ...]) -> bytes:
    """Of files and folders of this package, of versions, and of what decides how torch adds up."""
    versions = torch.__version__, importlib.metadata.version("ttnn")
    adds = torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()
    return hash_of(repr((versions, adds)), of_sources(PACKAGE, names))


def of_sources(folder: pathlib.Path, names: Iterable[str]) -> bytes:
    """Of the Python files that these names of files and folders in a folder stand for."""
    parts = []
    for path in (folder / name for name in names):
        for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
            parts += [str(file.relative_to(folder)), file.read_text()]
    return hash_of(*parts)
