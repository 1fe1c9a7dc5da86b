"""Values that TTNN's operations take, as Python source that makes an equal one.

Each source is tried out: what it makes is compared with the value before it is handed on.
"""

import enum
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
import ttnn

NAMESPACE = {"ttnn": ttnn, "torch": torch}  # what a source may name, beside the caller's names


class NotWritable(ValueError):
    """No source makes the value; the message says which value, as the end of a sentence."""


Named = Callable[[Any], str | None]


def source(value: Any, named: Named = lambda value: None) -> str:
    """Python source of a value.

    Args:
        named: the name that the program has for a value, None where it has none. It is asked for
            the value itself and for everything in its lists, tuples and dicts.

    Raises:
        NotWritable: there is none.
    """
    name = named(value)
    if name is not None:
        return name
    if isinstance(value, np.generic):
        return source(value.item(), named)
    if isinstance(value, (list, tuple, set, dict)):
        return _of_container(value, named)
    for candidate in _candidates(value):
        if _makes(candidate, value):
            return candidate
    raise NotWritable(f"{type(value).__module__}.{type(value).__qualname__} {value!r:.80}")


def same(first: Any, second: Any) -> bool:
    """Whether two values are equal; those that TTNN does not compare, in what they show."""
    if type(first) is not type(second):
        return False
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    if not _is_ttnns(first) or isinstance(first, enum.Enum):
        return bool(first == second) or repr(first) == repr(second) == "nan"
    if type(first).__eq__ is not object.__eq__ and type(first) is not ttnn.Tile:
        return bool(first == second)  # tiles are equal to TTNN whether transposed or not
    if type(first).__repr__ is not object.__repr__ and repr(first) != repr(second):
        return False
    return all(same(getattr(first, name), getattr(second, name)) for name in _fields(first))


def _is_ttnns(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "ttnn"


def _makes(text: str, value: Any) -> bool:
    """Whether a source makes a value."""
    try:
        return same(eval(text, dict(NAMESPACE)), value)
    except Exception:  # noqa: BLE001 - TTNN refuses arguments in many ways
        return False


def _fields(value: Any) -> list[str]:
    """The public attributes of a value of TTNN's that are data."""
    names = [name for name in dir(type(value)) if not name.startswith("_")]
    return [name for name in names if not callable(getattr(value, name))]


def _of_container(value: Any, named: Named) -> str:
    if isinstance(value, dict):
        pairs = (f"{source(key, named)}: {source(one, named)}" for key, one in value.items())
        return f"{{{', '.join(pairs)}}}"
    parts = [source(one, named) for one in value]
    if isinstance(value, tuple):
        return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
    if isinstance(value, set):
        return f"{{{', '.join(parts)}}}" if parts else "set()"
    return f"[{', '.join(parts)}]"


def _candidates(value: Any) -> Iterator[str]:
    """Sources that may make a value, the plainest first."""
    if value is None or isinstance(value, (bool, int, str, bytes, complex, slice, range)):
        yield repr(value)
    elif value is Ellipsis:
        yield "..."
    elif isinstance(value, float):
        yield float.__repr__(value)
        yield f'float("{float.__repr__(value)}")'  # not finite
    elif isinstance(value, torch.dtype):
        yield str(value)
    elif isinstance(value, enum.Enum):
        yield from _of_enum(value)
    elif _is_ttnns(value):
        yield from _of_ttnn(value)


def _of_enum(value: enum.Enum) -> Iterator[str]:
    for alias in (value.name.lower(), f"{value.name}_LAYOUT"):  # ttnn.bfloat16, ttnn.TILE_LAYOUT
        if getattr(ttnn, alias, None) is value:
            yield f"ttnn.{alias}"
    for path in _paths(type(value)):
        yield f"{path}.{value.name}"


def _of_ttnn(value: Any) -> Iterator[str]:
    if type(value) in SPECIAL:
        try:
            yield from SPECIAL[type(value)](value)
        except NotWritable:
            return
    for path in _paths(type(value)):
        for names in _parameters(type(value)):
            if all(hasattr(value, name) for name in names):
                fields = {name: getattr(value, name) for name in names}
                yield from _calls(path, fields)
    yield f"ttnn.{value!r}"


def _calls(path: str, fields: Mapping[str, Any]) -> Iterator[str]:
    """Calls with these arguments, first without those that are None."""
    try:
        written = {name: f"{name}={source(value)}" for name, value in fields.items()}
    except NotWritable:
        return
    yield f"{path}({', '.join(text for name, text in written.items() if fields[name] is not None)})"
    yield f"{path}({', '.join(written.values())})"


def _paths(kind: type) -> Iterator[str]:
    """Names by which a program reaches a class, the shortest first."""
    for path in (f"ttnn.{kind.__qualname__}", f"{kind.__module__}.{kind.__qualname__}"):
        try:
            found = operator.attrgetter(path.partition(".")[2])(ttnn)
        except AttributeError:
            continue
        if found is kind:
            yield path


def _parameters(kind: type) -> list[list[str]]:
    """Names of the parameters of each of a class's constructors, those with most first."""
    signatures = getattr(
        vars(kind).get("__init__"), "__nb_signature__", ()
    )  # nanobind's, as for its stubs
    return sorted((parameters(text) for text, *_ in signatures), key=len, reverse=True)


def parameters(signature: str) -> list[str]:
    """Names of the parameters in a signature that nanobind writes, `self` aside."""
    return re.findall(r", (\w+): ", signature)


# --- what is not made from attributes of the same names -------------------------------------------


def _of_memory_config(config: ttnn.MemoryConfig) -> Iterator[str]:
    for name in ("DRAM_MEMORY_CONFIG", "L1_MEMORY_CONFIG"):
        if config == getattr(ttnn, name):
            yield f"ttnn.{name}"
    places = config.memory_layout, config.buffer_type, config.shard_spec
    yield _call("MemoryConfig", *(one for one in places if one is not None))
    if config.nd_shard_spec is not None:
        yield _call("MemoryConfig", config.buffer_type, config.nd_shard_spec)


def _of_core_ranges(cores: ttnn.CoreRangeSet) -> Iterator[str]:
    yield _call("CoreRangeSet", list(cores.ranges()))


def _call(name: str, *arguments: Any) -> str:
    return f"ttnn.{name}({', '.join(map(source, arguments))})"


SPECIAL: dict[type, Callable[[Any], Iterable[str]]] = {
    ttnn.CoreCoord: lambda core: [_call("CoreCoord", core.x, core.y)],
    ttnn.CoreRange: lambda cores: [_call("CoreRange", cores.start, cores.end)],
    ttnn.CoreRangeSet: _of_core_ranges,
    ttnn.MemoryConfig: _of_memory_config,
    ttnn.Shape: lambda shape: [_call("Shape", list(shape))],
    ttnn.ShardSpec: lambda spec: [
        _call("ShardSpec", spec.grid, list(spec.shape), spec.orientation)
    ],
    ttnn.Tile: lambda tile: [
        _call("Tile", tuple(tile.tile_shape)),
        _call("Tile", tuple(tile.tile_shape), tile.transpose_of_faces),
    ],
    ttnn.UnaryWithParam: lambda op: [_call("UnaryWithParam", op.op_type, *op.params)],
}
