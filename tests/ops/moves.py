"""Ops that move values and are on no model's way: shapes, copies, parts, heads. All are exact."""

import torch
import ttnn

from .entries import case, entry, given
from .layouts import U16
from .movement import BF16, BFP8, FP32, HEADS, HIDDEN, I32, ODD, ROWS, moved
from .operands import on
from .opinfo import Refused, extreme, massive, plain

X = ttnn.experimental
WHOLE = (2, 3, 64, 96)


def same(x, **kwargs):
    return x


def some(shape=ODD, large=HIDDEN, **kwargs):
    """Samples of one operand in several dtypes and layouts, and references."""
    samples = (
        moved(shape, **kwargs),
        moved(shape, FP32, **kwargs),
        moved(shape, I32, **kwargs),
        moved(shape, layout=ROWS, **kwargs),
        moved(shape, memory="l1", **kwargs),
    )
    return samples, (moved(large, values=massive, **kwargs), moved(large, values=extreme, **kwargs))


# --- shapes --------------------------------------------------------------------------------------

SHAPES = [
    entry(
        "view",
        lambda x, *, to: ttnn.view(x, to),
        lambda x, *, to: x.reshape(to),
        (moved(ODD, to=(6, 37, 80)), moved(ODD, FP32, to=(1, 6, 37, 80), note="ones")),
        (moved(HIDDEN, to=(128, 3072), values=massive),),
    ),
    entry(
        "experimental_view",
        lambda x, *, to: X.view(x, *to),
        lambda x, *, to: x.reshape(to),
        (moved(WHOLE, to=(6, 1, 64, 96)), moved(WHOLE, FP32, to=(1, 6, 64, 96))),
        (moved(HEADS, to=(32, 1, 128, 96), values=massive),),
        operation="view",
    ),
    entry(
        "reshape_on_device",
        lambda x, *, to: ttnn.reshape_on_device(x, *to),
        lambda x, *, to: x.reshape(to),
        (moved(WHOLE, to=(1, 2, 192, 96)), moved(WHOLE, FP32, to=(1, 1, 384, 96))),
        (moved(HEADS, to=(1, 1, 4096, 96), values=massive),),
    ),
    entry(
        "squeeze",
        lambda x, *, dim: ttnn.squeeze(x, dim),
        lambda x, *, dim: x.squeeze(dim),
        (moved((1, 3, 37, 80), dim=0), moved((3, 1, 37, 80), I32, ROWS, dim=1)),
        (moved(HIDDEN, dim=1, values=massive),),
    ),
    entry(
        "unsqueeze",
        lambda x, *, dim: ttnn.unsqueeze(x, dim),
        lambda x, *, dim: x.unsqueeze(dim),
        (moved((3, 37, 80), dim=0), moved((3, 37, 80), I32, ROWS, dim=1)),
        (moved((1, 128, 3072), dim=1, values=massive),),
    ),
    entry(
        "expand",
        lambda x, *, to: ttnn.expand(x, to),
        lambda x, *, to: x.expand(to),
        *some((1, 3, 37, 80), (1, 1, 128, 768), to=(2, -1, -1, -1)),
    ),
    entry(
        "broadcast_to",
        lambda x, *, to: X.broadcast_to(x, ttnn.Shape(to)),
        lambda x, *, to: x.expand(to),
        (
            moved((1, 1, 37, 80), to=(2, 3, 37, 80)),
            moved((1, 1, 1, 80), FP32, to=(1, 2, 37, 80)),
            moved((1, 2, 37, 1), to=(1, 2, 37, 80)),
        ),
        (moved((1, 1, 1, 3072), to=(1, 1, 128, 3072), values=massive),),
    ),
    entry(
        "repeat",
        lambda x, *, counts: ttnn.repeat(x, counts),
        lambda x, *, counts: x.repeat(counts),
        *some(large=(1, 1, 64, 768), counts=(1, 2, 1, 3)),
    ),
    entry(
        "repeat_interleave",
        lambda x, *, times, dim: ttnn.repeat_interleave(x, times, dim),
        lambda x, *, times, dim: x.repeat_interleave(times, dim),
        (
            moved(ODD, times=2, dim=1),
            moved(ODD, FP32, times=3, dim=0),
            moved((1, 2, 64, 96), times=2, dim=2, note="rows-of-tiles"),
        ),
        (moved((1, 8, 128, 96), times=4, dim=1, note="grouped-heads", values=massive),),
    ),
    entry(
        "stack",
        lambda a, b, *, dim: ttnn.stack([a, b], dim),
        lambda a, b, *, dim: torch.stack([a, b], dim),
        (
            case((3, 37, 80), (3, 37, 80), dim=0),
            case((3, 37, 80), (3, 37, 80), dim=1, note="in-the-middle"),
            case((3, 37, 80), (3, 37, 80), dim=0, dtype=FP32),
        ),
        (case((1, 128, 768), (1, 128, 768), dim=1),),
    ),
    entry(
        "split",
        lambda x, *, size, dim: ttnn.split(x, size, dim),
        lambda x, *, size, dim: x.split(size, dim),
        (
            *some(size=32, dim=3)[0],
            moved(ODD, size=[16, 64], dim=3, note="sizes"),
            moved(ODD, size=2, dim=1, note="matrices"),
        ),
        (moved((1, 1, 32, 16384), size=8192, dim=3, values=massive),),
    ),
    entry(
        "chunk",
        lambda x, *, count, dim: ttnn.chunk(x, count, dim),
        lambda x, *, count, dim: x.chunk(count, dim),
        some(count=2, dim=3)[0],
        (moved((1, 1, 32, 16384), count=2, dim=3, values=massive),),
    ),
    entry(
        "narrow",
        lambda x, *, dim, length: ttnn.narrow(x, dim, 0, length),
        lambda x, *, dim, length: x.narrow(dim, 0, length),
        (
            moved((4, 3, 37, 80), dim=0, length=2),
            moved((4, 3, 37, 80), FP32, dim=0, length=3),
            moved((128, 64), layout=ROWS, dim=0, length=32),
        ),
        (moved((1, 1, 128, 3072), dim=2, length=32, values=massive),),
        refused=Refused(  # what begins elsewhere has to begin in the first bank
            "bank", lambda device: ttnn.narrow(on(device, plain(128, 64)), 0, 32, 32), "aligned"
        ),
    ),
]

# --- copies --------------------------------------------------------------------------------------


def copied_into(x):
    """Into a tensor that held other values."""
    return ttnn.copy(x, ttnn.full_like(x, 7))


def bits_of(x, *, to):
    """The bits of bfloat16 as unsigned integers, those of float32 as signed ones."""
    return x.view(torch.int16).long() & 0xFFFF if to == U16 else x.view(torch.int32).long()


COPIES = [
    entry("assign", lambda x: ttnn.assign(x, memory_config=ttnn.L1_MEMORY_CONFIG), same, *some()),
    entry("clone", ttnn.clone, same, *some()),
    entry(
        "copy",
        copied_into,
        same,
        *some(),
        refused=Refused(
            "torch",
            lambda device: ttnn.copy(plain(32, 32), on(device, plain(32, 32))),
            "incompatible",
        ),
    ),
    entry("move", lambda x: ttnn.move(x), same, *some()),
    entry("reallocate", lambda x: ttnn.reallocate(x), same, *some()),
    entry(
        "fill_implicit_tile_padding",
        lambda x: ttnn.fill_implicit_tile_padding(x, 3.0),
        same,
        (moved(ODD), moved(ODD, FP32), moved((1, 1, 64, 96))),
        (moved((1, 1, 155, 3072), values=massive),),
    ),
    entry(
        "tilize_with_zero_padding",
        lambda x: ttnn.tilize_with_zero_padding(x),
        same,
        (moved(ODD, layout=ROWS), moved(ODD, FP32, ROWS), moved((1, 2, 64, 96), layout=ROWS)),
        (moved((1, 1, 155, 3072), layout=ROWS, values=massive),),
    ),
    entry(
        "to_dtype",
        lambda x, *, to: ttnn.to_dtype(ttnn.from_device(x), to),  # of tensors on the host
        same,
        (
            case((2, 3, 37, 80), to=FP32, result=FP32, note="to-fp32"),
            case((2, 3, 37, 80), to=BF16, dtype=BFP8, result=BF16, note="to-bf16"),
        ),
        (case((1, 1, 128, 3072), to=FP32, result=FP32, note="to-fp32"),),
    ),
    entry(
        "bitcast",
        lambda x, *, to: ttnn.bitcast(x, to),
        bits_of,
        (
            case((1, 2, 37, 80), to=U16, result=U16, note="to-u16"),
            case((1, 2, 37, 80), dtype=FP32, to=I32, result=I32, note="to-i32"),
        ),
        (case((1, 1, 128, 768), to=U16, result=U16, note="to-u16"),),
    ),
]

# --- parts ---------------------------------------------------------------------------------------

PART = (ttnn.CoreCoord(1, 4), [32, 64], 2)  # half of a tensor's rows on four cores
BY_HEIGHT = (ttnn.TensorMemoryLayout.HEIGHT_SHARDED, ttnn.ShardOrientation.ROW_MAJOR)
ROWS_256 = (1, 1, 256, 64)


def half(x, part):
    return x[..., 128 * part : 128 * (part + 1), :]


def written_back(x, cache, *, part):
    shards = ttnn.interleaved_to_sharded_partial(x, *PART, part, *BY_HEIGHT)
    return ttnn.sharded_to_interleaved_partial(shards, cache, 2, part)


def half_replaced(x, cache, *, part):
    cache = cache.clone()
    half(cache, part).copy_(half(x, part))
    return cache


def of_rows(*shape):
    return given(lambda: plain(*shape), layout=ROWS)


def placed(x, target, *, start):
    target = target.clone()
    target[:, start : start + x.shape[1]] = x
    return target


def write_slice(x, target, *, start):
    ends = [1, start + x.shape[1], *list(target.shape)[2:]]
    return X.slice_write(x, target, [0, start, 0, 0], ends, [1] * 4)


def shards_of(rows):
    return ttnn.create_sharded_memory_config(
        (1, 1, rows, 32), ttnn.CoreGrid(x=1, y=2), ttnn.ShardStrategy.HEIGHT
    )


PARTS = [
    entry(
        "interleaved_to_sharded_partial",
        lambda x, *, part: ttnn.interleaved_to_sharded_partial(x, *PART, part, *BY_HEIGHT),
        lambda x, *, part: half(x, part),
        (case(ROWS_256, part=0, note="first"), case(ROWS_256, part=1, note="second")),
        (case(ROWS_256, part=1, dtype=FP32, note="second"),),
    ),
    entry(
        "sharded_to_interleaved_partial",
        written_back,
        half_replaced,
        (
            case(ROWS_256, ROWS_256, part=0, note="first"),
            case(ROWS_256, ROWS_256, part=1, note="second"),
        ),
        (case(ROWS_256, ROWS_256, part=1, dtype=FP32, note="second"),),
    ),
    entry(
        "slice_write",
        write_slice,
        placed,
        (
            case(of_rows(1, 2, 8, 32), of_rows(1, 8, 8, 32), start=2),
            case(of_rows(1, 1, 8, 64), of_rows(1, 4, 8, 64), start=3, note="last"),
        ),
        (case(of_rows(1, 4, 16, 256), of_rows(1, 16, 16, 256), start=5),),
    ),
    entry(
        "padded_slice",
        lambda x, *, count: X.padded_slice(
            x, [0, 0, 0, 0], [1, count, 16, 32], memory_config=shards_of(16 * count)
        ),
        lambda x, *, count: x[:, :count].reshape(1, 1, -1, 32),
        (case(of_rows(1, 8, 16, 32), count=4), case(of_rows(1, 8, 16, 32), count=2, note="two")),
        (case(of_rows(1, 32, 16, 32), count=16),),
    ),
]

# --- heads ---------------------------------------------------------------------------------------


def heads_of(x, count):
    return x.unflatten(-1, (count, -1)).transpose(-2, -3)


def split_golden(x, *, heads, kv_heads, transpose):
    """[B, S, (N + 2 K) D] to queries, keys and values of heads."""
    width = x.shape[-1] // (heads + 2 * kv_heads)
    q, k, v = x.split([heads * width, kv_heads * width, kv_heads * width], -1)
    k = heads_of(k, kv_heads)
    return heads_of(q, heads), k.mT if transpose else k, heads_of(v, kv_heads)


def split_call(x, *, heads, kv_heads, transpose):
    return ttnn.transformer.split_query_key_value_and_split_heads(
        x, num_heads=heads, num_kv_heads=kv_heads, transpose_key=transpose
    )


def rotated(x):
    first, second = x.chunk(2, -1)
    return torch.cat([-second, first], -1)


JOINED = ttnn.transformer.concatenate_heads

HEADS_OF = [
    entry(
        "split_query_key_value_and_split_heads",
        split_call,
        split_golden,
        (
            case((1, 32, 1152), heads=4, kv_heads=4, transpose=True, note="four"),
            case((1, 64, 768), heads=8, kv_heads=2, transpose=False, note="grouped"),
            case((2, 64, 160), heads=3, kv_heads=1, transpose=True, note="three"),
        ),
        (case((1, 128, 1536), heads=8, kv_heads=4, transpose=True),),
    ),
    entry(
        "concatenate_heads",
        lambda x: JOINED(x),
        lambda x: x.transpose(1, 2).flatten(2),
        (moved((2, 4, 64, 64)), moved((1, 3, 32, 96)), moved((1, 4, 64, 64), BFP8)),
        (moved(HEADS, values=massive),),
    ),
    entry(
        "nlp_create_qkv_heads_segformer",
        lambda x: X.nlp_create_qkv_heads_segformer(x)[0],  # the other two are never written
        lambda x: heads_of(x[:, 0], x.shape[-1] // 32),
        (moved((1, 1, 32, 64)), moved((2, 1, 64, 96))),
        (moved((1, 1, 128, 256), values=massive),),
    ),
    entry(
        "rotate_half",
        X.rotate_half,
        rotated,
        (moved((1, 2, 32, 64)), moved((2, 3, 64, 128))),
        (moved((1, 32, 128, 64), values=massive),),
    ),
]

OPS = [*SHAPES, *COPIES, *PARTS, *HEADS_OF]
