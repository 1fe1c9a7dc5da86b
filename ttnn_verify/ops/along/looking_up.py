"""Elements by what they are or by an index, where others are left undefined; parts of tensors.

N batch, K rows of a table, C columns, W indices.
"""

from collections.abc import Sequence

import torch

from ttnn_verify.ops.along.picking import scattered
from ttnn_verify.ops.expected import CallContext, Expected, NoGolden
from ttnn_verify.ops.movement import copied, sliced
from ttnn_verify.ops.spec import OpSpec, without_context

ALL_BITS = 0xFFFFFFFF  # what isin says for true


def isin(
    elements: torch.Tensor, test_elements: torch.Tensor, *, invert: bool = False
) -> torch.Tensor:
    """All bits of uint32 where an element is among the others; -0.0 and 0.0 are not the same."""
    patterns = [
        x.float().contiguous().view(torch.int32) if x.is_floating_point() else x
        for x in (elements, test_elements)
    ]
    return torch.where(torch.isin(*patterns, invert=invert), ALL_BITS, 0)


def nonzero(context: CallContext, input_tensor: torch.Tensor) -> list[Expected]:
    """How many elements are not zero, and their places of four numbers each, one after the other.

    The rest of both results is undefined.
    """
    x = input_tensor.reshape((1,) * (4 - input_tensor.dim()) + tuple(input_tensor.shape))
    places = x.nonzero().flatten()
    return [
        Expected(torch.tensor([[[[len(places) // 4]]]]), None, (Ellipsis, slice(0, 1))),
        Expected(places[None, None, None], None, (Ellipsis, slice(0, len(places)))),
    ]


def tosa_gather(input: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Rows of [N, K, C] by indices [N, W] -> [N, W, C]."""
    return torch.stack([table[rows.long()] for table, rows in zip(input, index, strict=True)])


def tosa_scatter(
    context: CallContext, input: torch.Tensor, index: torch.Tensor, src: torch.Tensor
) -> Expected:
    """Rows of `src` [N, W, C] in a copy of `input` [N, K, C] at indices [N, W].

    Raises:
        NoGolden: an index that occurs twice in a batch, whose last write stays.
    """
    return scattered(context, input, 1, index[..., None].expand(src.shape), src)


def padded_slice(
    context: CallContext,
    input_tensor: torch.Tensor,
    padded_slice_start: Sequence[int],
    padded_slice_end: Sequence[int],
    padded_slice_step: Sequence[int] | None = None,
    *,
    pad_value: float | None = None,
) -> Expected:
    """A slice as the rows of a matrix, which may be wider: filled up with a number."""
    part = sliced(input_tensor, padded_slice_start, padded_slice_end, padded_slice_step)
    missing = context.shapes[0][-1] - part.shape[-1]
    wide = torch.nn.functional.pad(part, (0, missing), value=pad_value or 0.0)
    return Expected(wide.reshape(context.shapes[0]))


def slice_write(
    input_tensor: torch.Tensor,
    output_tensor: torch.Tensor,
    start: Sequence[int],
    end: Sequence[int],
    step: Sequence[int],
) -> torch.Tensor:
    """The second tensor with the first in the place of its elements from start to end by step.

    Raises:
        NoGolden: shards that hold more than these elements.
    """
    written = output_tensor.clone()
    place = tuple(slice(*bounds) for bounds in zip(start, end, step, strict=True))
    if written[place].numel() != input_tensor.numel():
        raise NoGolden("slice_write has no golden for shards that are larger than the part.")
    written[place] = input_tensor.reshape(written[place].shape)
    return written


def interleaved_to_sharded_partial(
    context: CallContext,
    input_tensor: torch.Tensor,
    grid: object,
    shard_shape: object,
    num_slices: int,
    slice_index: int,
    *sharding: object,
) -> Expected:
    """One of so many equal parts of the rows of a tensor seen as a matrix: [1, 1, rows, W]."""
    rows = input_tensor.flatten(0, -2).unflatten(0, (num_slices, -1))
    return copied(context, rows[slice_index][None, None])


def sharded_to_interleaved_partial(
    input_tensor: torch.Tensor,
    cache_tensor: torch.Tensor,
    num_slices: int,
    slice_index: int,
) -> torch.Tensor:
    """The second tensor with the first in the place of one of so many equal parts of its rows."""
    parts = list(cache_tensor.flatten(0, -2).chunk(num_slices))
    parts[slice_index] = input_tensor.reshape(parts[slice_index].shape)
    return torch.cat(parts).reshape(cache_tensor.shape)


SPECS = (
    OpSpec(("isin",), without_context(isin), ignored=frozenset({"assume_unique", "out"})),
    OpSpec(("nonzero",), nonzero),
    *(
        OpSpec((golden.__name__,), golden, data="picks")
        for golden in (interleaved_to_sharded_partial, padded_slice, tosa_scatter)
    ),
    *(
        OpSpec((golden.__name__,), without_context(golden), data="picks")
        for golden in (sharded_to_interleaved_partial, slice_write, tosa_gather)
    ),
)
