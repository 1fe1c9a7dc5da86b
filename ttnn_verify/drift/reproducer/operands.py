"""A call's operands as a program makes them again: names, stored contents, source."""

import dataclasses
import inspect
import keyword
from collections.abc import Iterable, Mapping
from typing import Any

import torch
import ttnn

from ttnn_verify.drift.observation.given import GivenCall, GivenTensor
from ttnn_verify.drift.reproducer.as_source import NotWritable, parameters, source
from ttnn_verify.drift.reproducer.wanted import NotReproducible

# The dtype in which a file keeps a tensor's values, which it holds exactly.
STORED = {
    "BFLOAT16": torch.bfloat16,
    "BFLOAT8_B": torch.bfloat16,
    "BFLOAT4_B": torch.bfloat16,
    "UINT8": torch.uint8,
    "UINT16": torch.int32,
    "INT32": torch.int32,
    "UINT32": torch.int64,
}

# What else a program names.
TAKEN = {
    *("actual", "allowed", "chip", "device", "differs", "error", "expected", "load_file", "name"),
    *("part", "pathlib", "pcc", "places", "relative_l2", "result", "size", "stored", "torch"),
    *("ttnn", "unknown", "worst", "x"),
}

WHOLE_TILE = ttnn.Tile((32, 32))


@dataclasses.dataclass(frozen=True)
class Variable:
    """An operand of the program.

    Attributes:
        stored: what the file keeps of it; None where it is made of zeros. Of a tensor of which
            each chip has a part, the parts one after the other along the first dimension.
        made: the source that makes it, with `{}` for what is stored.
    """

    name: str
    stored: torch.Tensor | None
    made: str


def variables(call: GivenCall, operation: Any) -> dict[GivenTensor, Variable]:
    """The operands of a call, each under a name of its own.

    Raises:
        NotReproducible: an operand would not be the same.
    """
    made: dict[GivenTensor, Variable] = {}
    places = _parameter_names(operation)
    for argument, tensors in call.tensors():
        for number, tensor in enumerate(tensors):
            if tensor in made:
                continue
            name = argument if isinstance(argument, str) else places.get(argument, "operand")
            name = f"{name}_{number}" if len(tensors) > 1 else name
            name = _unused(name, {one.name for one in made.values()})
            try:
                made[tensor] = _variable(name, tensor)
            except NotWritable as error:
                raise NotReproducible(f"where {name} lies cannot be written: {error}.") from None
    return made


def _parameter_names(operation: Any) -> Mapping[int, str]:
    """Place -> name of an operation's parameters, as far as TTNN tells them."""
    genuine = inspect.unwrap(operation.function)  # the emulated device wraps it
    call = vars(type(genuine)).get("__call__")
    signatures = getattr(call, "__nb_signature__", None)  # nanobind's, as for its stubs
    return dict(enumerate(parameters(signatures[0][0]))) if signatures else {}


def _unused(name: str, used: Iterable[str]) -> str:
    used = {*used, *TAKEN, *keyword.kwlist}
    names = (name, *(f"{name}_{number}" for number in range(2, len(used) + 3)))
    return next(one for one in names if one not in used)


def _variable(name: str, tensor: GivenTensor) -> Variable:
    each = _parts(tensor)
    with_padding = any(not _is_padded_alike(part) for part in each)
    contents = [_with_padding(part) if with_padding else part.values for part in each]
    dtype = STORED.get(tensor.dtype.name, torch.float32)
    for part, values in zip(each, contents, strict=True):
        _check(name, part, values, values.to(dtype))
    mapper = ", mesh_mapper=ttnn.ShardTensorToMesh(device, dim=0)" if len(each) > 1 else ""
    whole = torch.cat(contents) if mapper else contents[0]
    if whole.any() or _signs(whole).any():
        stored = whole.to(dtype).contiguous()
        return Variable(name, stored, _made(tensor, "{}", with_padding, mapper))
    zeros = f"torch.zeros({tuple(whole.shape)}, dtype={dtype})"
    return Variable(name, None, _made(tensor, zeros, with_padding, mapper))


def _parts(tensor: GivenTensor) -> list[GivenTensor]:
    """What each chip of a mesh has, once where all have the same."""
    distinct = {(id(values), id(padded)) for values, padded in tensor.chips}
    return [tensor.on(chip) for chip in range(len(tensor.chips) if len(distinct) > 1 else 1)]


def _is_padded_alike(tensor: GivenTensor) -> bool:
    """Whether TTNN would pad the values the same way."""
    alone = tensor.padded is None
    return alone and tensor.padded_shape == _packed(tensor, tensor.values).padded_shape


def _with_padding(tensor: GivenTensor) -> torch.Tensor:
    """The contents, padding included."""
    if tensor.padded is not None:
        return tensor.padded
    padded = tensor.values.new_zeros(tensor.padded_shape)
    padded[tuple(slice(0, size) for size in tensor.values.shape)] = tensor.values
    return padded


def _signs(values: torch.Tensor) -> torch.Tensor:
    return values.signbit()


def _packed(tensor: GivenTensor, values: torch.Tensor) -> ttnn.Tensor:
    """A tensor on the host, in the format and layout of the one that was given."""
    return ttnn.from_torch(values, tensor.dtype, layout=tensor.layout, tile=tensor.tile)


def _check(name: str, tensor: GivenTensor, expected: torch.Tensor, stored: torch.Tensor) -> None:
    """Raises NotReproducible where the program's operand would hold something else."""
    again = _packed(tensor, stored)
    values = again.to_torch()
    values = values.float() if values.is_floating_point() else values.long()
    same = (values == expected) | (values.isnan() & expected.isnan())
    if tuple(again.padded_shape) != tensor.padded_shape or not same.all():
        raise NotReproducible(
            f"the operand {name} of {tensor.dtype.name.lower()} is another one once it is read "
            "back and packed again."
        )


def _made(tensor: GivenTensor, values: str, with_padding: bool, mapper: str) -> str:
    """The source that makes a tensor from the source of its contents."""
    tile = "" if tensor.tile == WHOLE_TILE else f", tile={source(tensor.tile)}"
    host = f"{values}, {source(tensor.dtype)}, layout={source(tensor.layout)}{tile}{mapper}"
    if tensor.memory_config is None:
        return f"ttnn.from_torch({host})"
    place = f"device=device, memory_config={source(tensor.memory_config)}"
    shape = list(tensor.values.shape)
    if not with_padding or shape == list(tensor.padded_shape):
        return f"ttnn.from_torch({host}, {place})"
    view = f"ttnn.reshape(ttnn.from_torch({host}), {shape}, {list(tensor.padded_shape)})"
    return f"ttnn.to_device({view}, {place})"


def lines(made: Iterable[Variable]) -> list[str]:
    """A line for all variables that are made alike."""
    alike: dict[str, list[Variable]] = {}
    for variable in made:
        alike.setdefault(variable.made, []).append(variable)
    return [_line(text, variables) for text, variables in alike.items()]


def _line(made: str, alike: list[Variable]) -> str:
    names = [variable.name for variable in alike]
    if len(alike) == 1:
        return f"{names[0]} = " + made.replace("{}", f'stored["{names[0]}"]')
    if "{}" in made:
        listed = ", ".join(f'"{name}"' for name in names)
        each = made.replace("{}", "stored[name]") + f" for name in ({listed})"
    else:
        each = f"{made} for _ in range({len(names)})"
    return f"{', '.join(names)} = ({each})"
