"""Ops that move values between places of a tensor: exact. Embedding is one of them."""

import numpy as np
import torch
import ttnn

from .operands import on
from .opinfo import PLAIN, Op, Operand, Refused, Sample, extreme, massive, plain

BF16, FP32, BFP8, U32, I32 = (
    ttnn.bfloat16,
    ttnn.float32,
    ttnn.bfloat8_b,
    ttnn.uint32,
    ttnn.int32,
)
TILE, ROWS = ttnn.TILE_LAYOUT, ttnn.ROW_MAJOR_LAYOUT
ODD = (2, 3, 37, 80)
HEADS = (1, 32, 128, 96)
HIDDEN = (1, 1, 128, 3072)

# (shape, dtype, layout, memory); a list and not a product, as each finds something of its own
KINDS = [
    (ODD, BF16, TILE, "dram"),
    (ODD, FP32, TILE, "dram"),
    (ODD, I32, TILE, "dram"),
    (ODD, BF16, ROWS, "dram"),
    (ODD, BF16, TILE, "l1"),
]


def moved(shape, dtype=BF16, layout=TILE, memory="dram", values=plain, note="", **kwargs):
    """A sample with one operand; integers use all their bits."""

    def make():
        if dtype in (U32, I32):
            x = torch.randint(0, 2**31 - 1, shape, dtype=torch.int32)
        else:
            x = values(*shape)
        return (Operand(x, dtype, layout, memory),)

    marks = ("rows" if layout == ROWS else "", PLAIN[values], note)
    return Sample(shape, make, dtype, memory, "-".join(filter(None, marks)), kwargs)


def kinds(note="", **kwargs):
    return tuple(moved(*kind, note=note, **kwargs) for kind in KINDS)


def by_numpy(function, x, *args, **kwargs):
    """numpy's word for it. It has no bfloat16, all of whose values are float32 ones."""
    if x.dtype == torch.bfloat16:
        return torch.from_numpy(function(x.float().numpy(), *args, **kwargs)).bfloat16()
    return torch.from_numpy(function(x.numpy(), *args, **kwargs))


# --- slice ---------------------------------------------------------------------------------------


def cut(shape, starts, ends, steps=None, note="", **how):
    note = note or "from-" + "-".join(map(str, starts))
    return moved(shape, note=note, starts=starts, ends=ends, steps=steps or [1] * len(shape), **how)


SLICE = Op(
    "slice",
    call=lambda x, *, starts, ends, steps: ttnn.slice(x, starts, ends, steps),
    golden=lambda x, *, starts, ends, steps: x[
        tuple(slice(*bounds) for bounds in zip(starts, ends, steps, strict=True))
    ],
    samples=(
        *kinds("unaligned", starts=[0, 1, 5, 16], ends=[2, 3, 30, 77], steps=[1, 1, 1, 1]),
        cut((1, 2, 64, 96), [0, 0, 32, 0], [1, 2, 64, 96]),
        cut((1, 2, 64, 96), [0, 0, 0, 32], [1, 2, 64, 64]),
        cut((1, 2, 64, 96), [0, 1, 0, 0], [1, 2, 1, 96]),
        cut(ODD, [0, 0, 0, 0], [2, 3, 37, 80], [1, 2, 3, 4], note="steps"),
        cut((1, 1, 64, 96), [0, 0, 32, 0], [1, 1, 64, 96], dtype=BFP8),
    ),
    references=(
        cut((1, 1, 32, 16384), [0, 0, 0, 0], [1, 1, 32, 8192], note="gate"),
        cut((1, 1, 32, 16384), [0, 0, 0, 8192], [1, 1, 32, 16384], note="up", values=massive),
        cut(HIDDEN, [0, 0, 96, 0], [1, 1, 128, 3072], note="last-tile", values=extreme),
    ),
    errors=(
        Refused(
            "rank",
            lambda device: ttnn.slice(on(device, plain(1, 1, 32, 64)), [0, 0], [32, 64]),
            "must have the same size",
        ),
        Refused(
            "end",
            lambda device: ttnn.slice(on(device, plain(1, 1, 32, 64)), [0] * 4, [1, 1, 33, 64]),
            "must be less than or equal to the shape",
        ),
        Refused(
            "backwards",
            lambda device: ttnn.slice(
                on(device, plain(1, 1, 64, 64)), [0, 0, 32, 0], [1, 1, 16, 64]
            ),
            "must be greater than or equal to start",
        ),
    ),
)

# --- concat --------------------------------------------------------------------------------------


def joined(shapes, dim, dtype=BF16, layout=TILE, memory="dram", values=plain):
    def make():
        return tuple(Operand(values(*shape), dtype, layout, memory) for shape in shapes)

    marks = (f"{len(shapes)}-along-{dim}", "rows" if layout == ROWS else "", PLAIN[values])
    return Sample(shapes[0], make, dtype, memory, "-".join(filter(None, marks)), {"dim": dim})


CONCAT = Op(
    "concat",
    call=lambda *xs, dim: ttnn.concat(xs, dim=dim),
    golden=lambda *xs, dim: torch.cat(xs, dim),
    samples=(
        joined([ODD] * 2, 0),
        joined([ODD] * 2, 2),
        joined([ODD] * 2, -1),
        joined([(1, 2, 32, 64), (1, 2, 64, 64)], 2),
        joined([(1, 2, 5, 64), (1, 2, 37, 64), (1, 2, 1, 64)], 2),
        joined([ODD] * 2, -1, FP32),
        joined([ODD] * 2, 1, layout=ROWS),
        joined([(1, 2, 32, 64)] * 3, -1, memory="l1"),
    ),
    references=(
        joined([(1, 32, 128, 48)] * 2, -1),  # the halves of a rotation
        joined([HIDDEN] * 2, 2, values=massive),
        joined([(1, 1, 32, 3072)] * 3, -1, values=extreme),
    ),
    errors=(
        Refused(
            "shapes",
            lambda device: ttnn.concat(
                [on(device, plain(1, 1, 32, 64)), on(device, plain(1, 1, 32, 96))], dim=2
            ),
            "dimensions must be the same size",
        ),
        Refused("nothing", lambda device: ttnn.concat([], dim=0), "non-empty list"),
        Refused(
            "dim",
            lambda device: ttnn.concat([on(device, plain(32, 64))] * 2, dim=2),
            "out of bounds",
        ),
    ),
)

# --- transpose, permute --------------------------------------------------------------------------


def swapped(shape, dims, **how):
    return moved(shape, note=f"{dims[0]}-with-{dims[1]}", dims=dims, **how)


TRANSPOSE = Op(
    "transpose",
    call=lambda x, *, dims: ttnn.transpose(x, *dims),
    golden=lambda x, *, dims: x.transpose(*dims),
    samples=(
        *kinds("last-two", dims=(-2, -1)),
        swapped(ODD, (1, 2)),
        swapped(ODD, (0, 1)),
        swapped((1, 4, 32, 64), (1, 2), layout=ROWS),
        swapped((1, 2, 64, 96), (0, 1), dtype=BFP8),  # within a tile blocks would form anew
    ),
    references=(
        swapped(HEADS, (-2, -1)),
        swapped(HEADS, (1, 2), values=massive),
        swapped(HEADS, (-2, -1), values=extreme),
    ),
    errors=(
        Refused(
            "dim",
            lambda device: ttnn.transpose(on(device, plain(1, 1, 32, 64)), 0, 4),
            "out of bounds",
        ),
        Refused(
            "host",
            lambda device: ttnn.transpose(ttnn.from_torch(plain(32, 64)), 0, 1),
            "expect device tensors",
        ),
    ),
)


def permuted(shape, dims, **how):
    return moved(shape, note="to-" + "-".join(map(str, dims)), dims=dims, **how)


PERMUTE = Op(
    "permute",
    call=lambda x, *, dims: ttnn.permute(x, dims),
    golden=lambda x, *, dims: by_numpy(np.transpose, x, dims),
    samples=(
        *kinds("reversed", dims=(3, 2, 1, 0)),
        permuted(ODD, (0, 2, 1, 3)),
        permuted(ODD, (2, 0, 3, 1)),
        permuted(ODD, (0, 1, 2, 3)),
        permuted((5, 33, 64), (1, 0, 2)),
    ),
    references=(
        permuted(HEADS, (0, 2, 1, 3)),
        permuted(HEADS, (0, 1, 3, 2), values=massive),
        permuted(HEADS, (0, 2, 1, 3), values=extreme),
    ),
    errors=(
        Refused(
            "rank",
            lambda device: ttnn.permute(on(device, plain(1, 1, 32, 64)), (0, 2, 1)),
            "number of dimensions",
        ),
        Refused(
            "twice",
            lambda device: ttnn.permute(on(device, plain(1, 1, 32, 64)), (0, 1, 1, 3)),
            "duplicate dims",
        ),
    ),
)

# --- reshape -------------------------------------------------------------------------------------


def reshaped(shape, to, note="", **how):
    return moved(shape, note=note or "to-" + "x".join(map(str, to)), to=to, **how)


RESHAPE = Op(
    "reshape",
    call=lambda x, *, to: ttnn.reshape(x, to),
    golden=lambda x, *, to: x.reshape(to),
    samples=(
        *kinds("rows-joined", to=(2, 111, 80)),
        reshaped((1, 2, 64, 96), (2, 1, 64, 96), "view"),
        reshaped(ODD, (6, 80, -1)),
        reshaped((1, 1, 4, 96), (1, 1, 1, 384)),
        reshaped((1, 1, 32, 64), (1, 1, 64, 32)),
    ),
    references=(
        reshaped((1, 1, 32, 96), (1, 1, 1, 3072), "joined-heads"),
        reshaped((1, 1, 128, 3072), (1, 128, 32, 96), "split-heads", values=massive),
        reshaped((1, 128, 3072), (1, 1, 128, 3072), "view", values=extreme),
    ),
    errors=(
        Refused(
            "volume",
            lambda device: ttnn.reshape(on(device, plain(1, 1, 32, 64)), (1, 1, 32, 65)),
            "Invalid arguments to reshape",
        ),
        Refused(
            "two-unknown",
            lambda device: ttnn.reshape(on(device, plain(1, 1, 32, 64)), (1, 1, -1, -1)),
            "more than 1 elements",
        ),
    ),
)

# --- pad -----------------------------------------------------------------------------------------


def grown(shape, padding, value=0.0, note="", **how):
    note = note or "by-" + "-".join(str(after) for _, after in padding) + f"-of-{value:g}"
    return moved(shape, note=note, padding=padding, value=value, **how)


def pad_golden(x, *, padding, value):
    return by_numpy(np.pad, x, padding, constant_values=value)


PAD = Op(
    "pad",
    call=lambda x, *, padding, value: ttnn.pad(x, padding, value),
    golden=pad_golden,
    samples=(
        *kinds("some", padding=[(0, 1), (0, 0), (0, 40), (0, 16)], value=3),
        grown((1, 1, 5, 64), [(0, 0), (0, 31), (0, 0), (0, 0)]),
        grown((1, 1, 37, 80), [(0, 0), (0, 0), (0, 27), (0, 16)], 3.0, "within-tiles"),
        grown((1, 2, 33, 64), [(0, 0), (0, 0), (0, 31), (0, 0)]),
        grown((1, 2, 33, 64), [(0, 0), (0, 0), (2, 3), (1, 4)], layout=ROWS, note="in-front"),
    ),
    references=(
        grown((1, 1, 32, 96), [(0, 0), (0, 31), (0, 0), (0, 0)], note="slots"),
        grown((1, 1, 155, 3072), [(0, 0), (0, 0), (0, 5), (0, 0)], values=massive),
        grown((1, 32, 128, 96), [(0, 0), (0, 0), (0, 0), (0, 32)], values=extreme),
    ),
    errors=(
        Refused(
            "rank",
            lambda device: ttnn.pad(on(device, plain(32, 64)), [(0, 0)] * 3 + [(0, 32)], 0.0),
            "larger than input tensor rank",
        ),
        Refused(
            "in-front-of-tiles",
            lambda device: ttnn.pad(on(device, plain(1, 1, 32, 64)), [(0, 0)] * 3 + [(5, 0)], 0.0),
            "does not support front padding",
        ),
    ),
)

# --- embedding -----------------------------------------------------------------------------------


def looked_up(ids, table, ids_layout=ROWS, layout=TILE, values=plain):
    """ids [B, S] into a table [V, H]."""

    def make():
        indices = torch.randint(0, table[0], ids, dtype=torch.int32)
        indices.view(-1)[0], indices.view(-1)[-1] = table[0] - 1, 0
        return Operand(indices, U32, ids_layout), Operand(values(*table), BF16, ROWS)

    marks = (
        f"of-{table[0]}x{table[1]}",
        "tiled-ids" if ids_layout == TILE else "",
        "rows" if layout == ROWS else "",
        PLAIN[values],
    )
    return Sample(ids, make, note="-".join(filter(None, marks)), kwargs={"layout": layout})


EMBEDDING = Op(
    "embedding",
    call=lambda ids, table, *, layout: ttnn.embedding(ids, table, layout=layout),
    golden=lambda ids, table, *, layout: torch.nn.functional.embedding(ids, table),
    samples=(
        looked_up((1, 1), (50, 96)),
        looked_up((1, 32), (50, 96)),
        looked_up((1, 37), (50, 64)),
        looked_up((2, 64), (50, 96)),
        looked_up((1, 32), (50, 96), layout=ROWS),
        looked_up((1, 64), (50, 96), ids_layout=TILE),
    ),
    references=(
        looked_up((1, 128), (32064, 3072)),
        looked_up((1, 1), (32064, 3072)),
        looked_up((1, 32), (1000, 3072), values=massive),
        looked_up((1, 64), (200, 3072), values=extreme),
    ),
    errors=(
        Refused(
            "table-dtype",
            lambda device: ttnn.embedding(
                on(device, torch.zeros(1, 32, dtype=torch.int32), U32, ROWS),
                on(device, torch.zeros(50, 64, dtype=torch.int32), I32, ROWS),
            ),
            "must have BFLOAT16 dtype",
        ),
        Refused(
            "ids-dtype",
            lambda device: ttnn.embedding(
                on(device, torch.zeros(1, 32), FP32, ROWS), on(device, plain(50, 64), BF16, ROWS)
            ),
            "must be UINT32 or BFLOAT16",
        ),
        Refused(
            "table-rank",
            lambda device: ttnn.embedding(
                on(device, torch.zeros(1, 32, dtype=torch.int32), U32, ROWS),
                on(device, plain(2, 2, 50, 64), BF16, ROWS),
            ),
            "First two dimensions for the weights must be 1",
        ),
    ),
)

OPS = [EMBEDDING, SLICE, CONCAT, TRANSPOSE, PERMUTE, RESHAPE, PAD]
