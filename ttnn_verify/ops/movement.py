"""Operations that only move data: shapes, places, formats, transfers. Results are exact.

B batch, S sequence, V vocabulary, H hidden.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ttnn_verify.numerics import metrics, op_floors
from ttnn_verify.ops.expected import CallContext, Expected, NoGolden
from ttnn_verify.ops.spec import OpSpec, without_context


def embedding(context: CallContext, input_tensor: torch.Tensor, weight: torch.Tensor) -> Expected:
    """Rows of the table [..., V, H] for ids [B, S]."""
    rows = weight.reshape(-1, weight.shape[-1])[input_tensor.flatten().long()]
    return Expected(rows.reshape(context.shapes[0]))


def reshaped(context: CallContext, input_tensor: torch.Tensor, *shape: object) -> Expected:
    """The elements in their order. TTNN's host side checks the shape and plans the result's."""
    return Expected(input_tensor.reshape(context.shapes[0]))


def copied(context: CallContext, tensor: torch.Tensor, *placement: object) -> Expected:
    """Another place, layout or format; a format that does not have its values rounds."""
    if _has(context.out, tensor):
        return Expected(tensor)
    return Expected(tensor.double(), lambda: op_floors.typecast(tensor.double(), context.out))


def _has(out: str, x: torch.Tensor) -> bool:
    """Whether a format has all values of a tensor, which is of float32 or of integers."""
    if out in metrics.BLOCK_BITS:
        return False
    if out not in ("bfloat16", "float32"):
        return True
    same_width = x.is_floating_point() and out == "float32"
    return same_width or torch.equal(x.to(getattr(torch, out)).double(), x.double())


# What the conversions to integers reach: uint16 rounds, the others cut (ckernel_sfpu_typecast.h).
RANGES = {"int32": (-(2**31), 2**31 - 1), "uint32": (0, 2**32 - 1), "uint16": (0, 2**16 - 1)}


def typecast(context: CallContext, tensor: torch.Tensor, *placement: object) -> Expected:
    """Another format. What numbers become that an integer format does not reach is left out.

    Raises:
        NoGolden: numbers with a fraction as uint8.
    """
    if context.out not in RANGES:
        if "int" in context.out and not torch.equal(tensor, tensor.trunc()):
            raise NoGolden(f"typecast has no golden for fractions as {context.out}.")
        return copied(context, tensor)
    least, most = RANGES[context.out]
    x = tensor.double()
    known = (x > least - 0.5) & (x < most + 0.5)
    if context.out == "uint16":
        known &= (x - x.floor()) != 0.5  # to one side or the other
    whole = (x.round() if context.out == "uint16" else x.trunc())[known].long()
    return Expected(whole, None, known) if not known.all() else Expected(whole.reshape(x.shape))


def bitcast(context: CallContext, input_tensor: torch.Tensor, dtype: object) -> Expected:
    """The same bits read as another format of their width."""
    x, short = input_tensor, context.out in ("bfloat16", "uint16")
    if x.is_floating_point():
        x = x.bfloat16().view(torch.int16) if short else x.view(torch.int32)
    bits = x.long() % (1 << (16 if short else 32))
    if "float" in context.out:
        signed = bits.to(torch.int16 if short else torch.int32)
        return Expected(signed.view(getattr(torch, context.out)).float())
    return Expected(bits - (bits >> 31 << 32) if context.out == "int32" else bits)


def fill_rm(context: CallContext, *sizes_and_values: Any) -> Expected:
    """[N, C, H, W] of a number (1) in the first rows and columns, elsewhere of another (0).

    In their order N, C, H, W, how many rows, how many columns, a tensor that says where the result
    lies, and perhaps the two numbers.
    """
    *shape, rows, columns, _like = sizes_and_values[:7]
    high, low = sizes_and_values[7:] or (1.0, 0.0)
    made = torch.full(shape, float(low))
    made[..., :rows, :columns] = high
    return copied(context, made)


def sliced(
    input_tensor: torch.Tensor,
    starts: Sequence[int] | None = None,
    ends: Sequence[int] | None = None,
    steps: Sequence[int] | None = None,
    *,
    slice_start: Sequence[int] | None = None,
    slice_end: Sequence[int] | None = None,
    slice_step: Sequence[int] | None = None,
) -> torch.Tensor:
    """Elements from starts up to ends, by steps; each has two names."""
    first = slice_start if starts is None else starts
    last = slice_end if ends is None else ends
    step = slice_step if steps is None else steps
    if first is None or last is None:
        raise ValueError("a slice needs starts and ends.")
    step = [1] * len(first) if step is None else step
    bounds = zip(first, last, step, strict=True)
    return input_tensor[tuple(slice(int(a), int(b), int(c)) for a, b, c in bounds)]


def concatenated(tensors: Sequence[torch.Tensor], dim: int = 0, *, groups: int = 1) -> torch.Tensor:
    """The tensors one behind the other along a dimension, or so in each of `groups` parts."""
    parts = [tensor.unflatten(dim, (groups, -1)) for tensor in tensors]
    start = dim % tensors[0].dim()
    return torch.cat(parts, start + 1).flatten(start, start + 1)


def padded(
    input_tensor: torch.Tensor,
    padding: Sequence[Any],
    *start_and_value: Any,
    value: float = 0.0,
) -> torch.Tensor:
    """Zeros or another value around a tensor, in both of TTNN's forms.

    `(before, after)` of each of the last dimensions, and perhaps the value; or the padded shape,
    where the input starts in it, and perhaps the value.
    """
    if len(padding) and isinstance(padding[0], int):
        start, *rest = start_and_value
        sizes = zip(start, padding, input_tensor.shape, strict=True)
        pairs = [(before, whole - before - size) for before, whole, size in sizes]
    else:
        pairs, rest = [(before, after) for before, after in padding], list(start_and_value)
    (value,) = rest or (value,)
    flat = [count for pair in reversed(pairs) for count in pair]
    return torch.nn.functional.pad(input_tensor, flat, value=value)


def permuted(input_tensor: torch.Tensor, dims: Sequence[int]) -> torch.Tensor:
    """The dimensions in another order."""
    return input_tensor.permute(tuple(dims))


def transposed(input_tensor: torch.Tensor, dim1: int, dim2: int) -> torch.Tensor:
    """Two dimensions exchanged."""
    return input_tensor.transpose(dim1, dim2)


def repeated(input_tensor: torch.Tensor, repeat_dims: Sequence[int]) -> torch.Tensor:
    """The whole tensor several times along each dimension; missing counts in front are 1."""
    counts = [int(count) for count in repeat_dims]
    return input_tensor.repeat([1] * (input_tensor.dim() - len(counts)) + counts)


def repeat_interleaved(input_tensor: torch.Tensor, repeats: int, dim: int) -> torch.Tensor:
    """Each element several times in a row along a dimension."""
    return torch.repeat_interleave(input_tensor, repeats, dim)


def split(
    input_tensor: torch.Tensor, split_size: int | Sequence[int], dim: int = 0
) -> Sequence[torch.Tensor]:
    """Parts of these sizes along a dimension."""
    sizes = split_size if isinstance(split_size, int) else list(split_size)
    return input_tensor.split(sizes, dim)


def chunked(input_tensor: torch.Tensor, chunks: int, dim: int = 0) -> Sequence[torch.Tensor]:
    """So many equal parts along a dimension."""
    return input_tensor.chunk(chunks, dim)


def stacked(input_tensors: Sequence[torch.Tensor], dim: int) -> torch.Tensor:
    """The tensors along a new dimension."""
    return torch.stack(list(input_tensors), dim)


def narrowed(input_tensor: torch.Tensor, dim: int, start: int, length: int) -> torch.Tensor:
    """So many elements of a dimension, from one on."""
    return input_tensor.narrow(dim, start, length)


def expanded(context: CallContext, input_tensor: torch.Tensor, *shape: object) -> Expected:
    """Repeated along dimensions of size 1 up to the planned shape."""
    return Expected(input_tensor.expand(context.shapes[0]))


def cut(context: CallContext, input_tensor: torch.Tensor, *end: object) -> Expected:
    """Rows and columns from the first on, as many as are planned."""
    return Expected(input_tensor[tuple(slice(size) for size in context.shapes[0])])


def reshape(input_tensor: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """[...] -> `shape`, in which one size may be -1: TTNN's own takes no memory configuration."""
    return input_tensor.reshape(tuple(shape))


def plus_one(
    input_tensor: torch.Tensor,
    *,
    skip_negative_entries: bool = False,
    _ttnn_global_golden: bool = False,
) -> torch.Tensor:
    """Integers of any shape, each one larger; without those below 0 if they are skipped.

    TTNN's own leaves the accumulated golden as it was.
    """
    counted = input_tensor.long()  # torch adds no uint32
    counted = (counted + ((counted >= 0) if skip_negative_entries else 1)).to(input_tensor.dtype)
    return input_tensor.copy_(counted) if _ttnn_global_golden else counted


SHARDING = frozenset(
    {"grid", "shard_shape", "shard_scheme", "shard_orientation", "keep_l1_aligned"}
)
SHAPE = frozenset(
    {"shape", "dim", "logical_shape", "padded_shape", "reshape_tile_mode", "skip_padding_fill"}
)
# What the padding holds, which is not compared.
PADDING = frozenset({"pad_value"})

PICKED: dict[str, Callable[..., Any]] = {
    "chunk": chunked,
    "concat": concatenated,
    "narrow": narrowed,
    "pad": padded,
    "permute": permuted,
    "plus_one": plus_one,  # of integers: as exact as a movement
    "repeat": repeated,
    "repeat_interleave": repeat_interleaved,
    "slice": sliced,
    "split": split,
    "stack": stacked,
    "transpose": transposed,
}

# Ways between host and device, and calls that make no result: nothing is computed.
NOT_JUDGED = (
    "allocate_tensor_on_device",
    "arange",
    "as_tensor",
    "copy_device_to_host_tensor",
    "copy_host_to_device_tensor",
    "copy_host_to_device_tensor_partial",
    "deallocate",
    "empty",
    "empty_like",
    "from_buffer",
    "from_device",
    "from_torch",
    "full",
    "full_like",
    "moreh_full",
    "moreh_full_like",
    "ones",
    "ones_like",
    "synchronize_device",
    "to_device",
    "to_dtype",  # of tensors on the host
    "to_torch",
    "zeros",
    "zeros_like",
)

SPECS = (
    OpSpec(
        ("embedding",),
        embedding,
        kind="embedding",
        ignored=frozenset({"layout"}),
        neutral={"padding_idx": (), "embeddings_type": ("GENERIC",)},
    ),
    OpSpec(("reshape",), reshaped, data="keeps", ignored=SHAPE | PADDING, comparison=reshape),
    *(
        OpSpec((name,), reshaped, data="keeps", ignored=SHAPE | PADDING)
        for name in ("reshape_on_device", "squeeze", "unsqueeze", "unsqueeze_to_4D", "view")
    ),
    *(
        OpSpec((name,), copied, data="keeps", ignored=SHARDING | PADDING | {"layout"})
        for name in (
            "assign",
            "clone",
            "copy",
            "fill_implicit_tile_padding",
            "interleaved_to_sharded",
            "move",
            "reallocate",
            "reshard",
            "sharded_to_interleaved",
            "tilize",
            "tilize_with_val_padding",
            "tilize_with_zero_padding",
            "to_layout",
            "to_memory_config",
            "untilize",
        )
    ),
    *(
        OpSpec((name,), golden, data="picks", ignored=frozenset({"output_shape"}))
        for name, golden in (("broadcast_to", expanded), ("expand", expanded))
    ),
    OpSpec(("untilize_with_unpadding",), cut, data="picks"),
    OpSpec(("bitcast",), bitcast),
    OpSpec(("fill_rm", "fill_ones_rm"), fill_rm),
    OpSpec(("typecast",), typecast, data="keeps", ignored=frozenset({"input_dtype"})),
    *(
        OpSpec(
            (name,),
            without_context(golden),
            data="picks",
            ignored=PADDING,
            neutral={"slice_dim": (), "num_devices": ()},
            comparison=golden if name == "plus_one" else None,
        )
        for name, golden in PICKED.items()
    ),
    *(OpSpec((name,), judged=False) for name in NOT_JUDGED),
)
