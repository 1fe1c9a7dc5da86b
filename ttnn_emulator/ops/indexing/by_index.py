"""Operations whose elements an index tensor names: gather, scatter, fill, look-up."""

import torch

from ttnn_emulator.dispatch import Launch, NotEmulated
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops.common import bounds
from ttnn_emulator.ops.common.moving import copied, through_dest
from ttnn_emulator.ops.common.padding import undefined

TRUE = 0xFFFFFFFF  # of a mask of uint32, all bits set


def gather(
    launch: Launch,
    input: DeviceTensor,
    dim: int,
    index: DeviceTensor,
    *,
    sparse_grad: bool = False,
    out: DeviceTensor | None = None,
) -> torch.Tensor:
    """out[.., i, ..] = input[.., index[.., i, ..], ..] along `dim`.

    Raises:
        OutOfBounds: an index beyond that dimension.
    """
    if sparse_grad:
        raise NotEmulated("ttnn.gather: sparse_grad is not emulated; leave it out.")
    places, values = index.logical.long(), exact(input.logical)
    place = {"op": launch.name, "operand": "input", "unit": "element"}
    bounds.within(places, input.shape[dim], **place, because=f"along dimension {dim}")
    return _turned(launch, input, values.gather(dim, places), dim)


def scatter(
    launch: Launch,
    input: DeviceTensor,
    dim: int,
    index: DeviceTensor,
    src: DeviceTensor,
    *,
    reduce: str | None = None,
) -> torch.Tensor:
    """`src` written into a copy of `input` at `index` along `dim`, or reduced with what is there.

    An index beyond the dimension is passed over (reader_scatter.cpp).
    """
    tensors = [_in_rows(launch, tensor) for tensor in (input, src)]
    values = launch.math.scattered(
        tensors[0], _as_read(index.logical), tensors[1], dim % len(input.shape), reduce
    )
    return through_dest(launch, values, input) if input.tiled else values


def scatter_add(
    launch: Launch, input: DeviceTensor, dim: int, index: DeviceTensor, src: DeviceTensor
) -> torch.Tensor:
    return scatter(launch, input, dim, index, src, reduce="add")


def tosa_gather(launch: Launch, input: DeviceTensor, index: DeviceTensor) -> torch.Tensor:
    """[N, K, C] and indices [N, W] -> [N, W, C].

    Raises:
        OutOfBounds: an index beyond K.
    """
    places = index.logical.long()
    bounds.within(places, input.shape[1], op=launch.name, operand="input", unit="row")
    places = places[..., None].expand(launch.output.shape)
    return _turned(launch, input, exact(input.logical).gather(1, places), 1)


def tosa_scatter(
    launch: Launch, input: DeviceTensor, index: DeviceTensor, src: DeviceTensor
) -> torch.Tensor:
    """Rows of `src` [N, W, C] written into a copy of `input` [N, K, C] at indices [N, W]."""
    places = _as_read(index.logical)[..., None].expand(src.shape)
    tensors = [_in_rows(launch, tensor) for tensor in (input, src)]
    values = launch.math.scattered(tensors[0], places, tensors[1], 1)
    return through_dest(launch, values, input) if input.tiled else values


def index_fill(
    launch: Launch, input: DeviceTensor, dim: int, index: DeviceTensor, value: float
) -> torch.Tensor:
    """A number at the indices of a dimension; the reader meets none that is beyond it."""
    values = copied(input.logical)
    places = index.logical.flatten().long()
    places = places[(places >= 0) & (places < input.shape[dim])]
    values[(slice(None),) * (dim % len(input.shape)) + (places,)] = value
    return values


def indexed_fill(
    launch: Launch,
    batch_id: DeviceTensor,
    input_tensor_a: DeviceTensor,
    input_tensor_b: DeviceTensor,
    *,
    dim: int = 0,
) -> torch.Tensor:
    """Parts of `input_tensor_b` in the place of those parts of `input_tensor_a` that are named.

    Raises:
        OutOfBounds: fewer parts of `input_tensor_b` than are named.
    """
    values = copied(input_tensor_a.logical)
    places = batch_id.logical.flatten().long()
    parts, named = input_tensor_b.shape[dim], len(places)
    because = f"{named} are named"
    place = {"op": launch.name, "operand": "input_tensor_b", "unit": "part"}
    bounds.span(0, named, parts, **place, because=because)
    source = input_tensor_b.logical
    for number, part in enumerate(places.tolist()):
        if 0 <= part < input_tensor_a.shape[dim]:
            values.select(dim, part).copy_(source.select(dim, number))
    return values


def nonzero(launch: Launch, input_tensor: DeviceTensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How many elements are not zero, and their (batch, channel, row, column) in order.

    The rest of both results is as the core's memory was: undefined.
    """
    values = exact(input_tensor.logical)
    values = values.reshape((1,) * (4 - values.dim()) + values.shape)
    found = torch.nonzero(values)
    count, places = (undefined(o.padded_shape, o.dtype) for o in launch.outputs)
    count.view(-1)[0] = len(found)
    places.view(-1)[: found.numel()] = found.flatten()
    return count, places


def isin(
    launch: Launch,
    elements: DeviceTensor,
    test_elements: DeviceTensor,
    *,
    assume_unique: bool = False,  # isin_reader.cpp does not look at it
    invert: bool = False,
    out: DeviceTensor | None = None,
) -> torch.Tensor:
    """All bits of uint32 where an element is among the others; their patterns are compared."""
    found = torch.isin(_patterns(elements.logical), _patterns(test_elements.logical))
    return torch.where(found != invert, TRUE, 0).reshape(launch.output.shape)


def exact(values: torch.Tensor) -> torch.Tensor:
    """Floats as they are, integers as int64, which torch can index by and pick from."""
    return values if values.is_floating_point() else values.long()


def _patterns(values: torch.Tensor) -> torch.Tensor:
    if not values.is_floating_point():
        return values.long()
    return values.contiguous().view(torch.int16 if values.element_size() == 2 else torch.int32)


def _as_read(index: torch.Tensor) -> torch.Tensor:
    """Indices as the kernel takes them: without a sign."""
    return index.long() & 0xFFFFFFFF if index.dtype == torch.int32 else index.long()


def _in_rows(launch: Launch, operand: DeviceTensor) -> torch.Tensor:
    """Contents as they are untilized before they are scattered."""
    if not operand.tiled or not operand.logical.is_floating_point():
        return operand.logical
    values = launch.math.moved(operand.logical, operand.dtype, operand.dtype)
    return values.to(operand.logical.dtype)


def _turned(launch: Launch, operand: DeviceTensor, values: torch.Tensor, dim: int) -> torch.Tensor:
    """Values that were transposed twice, on the way to the last dimension and back."""
    last = dim % len(operand.shape) == len(operand.shape) - 1
    return values if last or not operand.tiled else through_dest(launch, values, operand)


BINDINGS = {
    "ttnn.experimental.isin": isin,
    "ttnn.gather": gather,
    "ttnn.index_fill": index_fill,
    "ttnn.indexed_fill": indexed_fill,
    "ttnn.nonzero": nonzero,
    "ttnn.scatter": scatter,
    "ttnn.scatter_add": scatter_add,
    "ttnn.tosa_gather": tosa_gather,
    "ttnn.tosa_scatter": tosa_scatter,
}
