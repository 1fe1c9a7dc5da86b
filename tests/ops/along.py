"""Ops along a dimension: by index, in order and running. numpy's word for what only moves."""

import numpy as np
import torch
import ttnn

from ttnn_verify.numerics import op_floors

from .movement import BF16, FP32, I32, ODD, ROWS, TILE, U32, by_numpy, moved
from .operands import on
from .opinfo import PLAIN, Op, Operand, Refused, Sample, extreme, massive, plain

LOGITS = (1, 1, 32, 4096)
HIDDEN = (1, 1, 128, 3072)


def distinct(*shape):
    """Numbers of which no two of a row are equal, in any order, exact in bfloat16 up to 256."""
    return torch.rand(shape).argsort(-1).float() - 100


PLAIN[distinct] = "distinct"


def of_rank(name, **kwargs):
    """A dimension that the operand does not have is refused."""

    def call(device):
        return getattr(ttnn, name)(on(device, plain(1, 1, 32, 64)), dim=7, **kwargs)

    return call


# --- by index ------------------------------------------------------------------------------------


def indexed(shape, dim, dtype=BF16, values=plain, source=False, layout=TILE):
    """Operands x, an index of its shape without repetition along `dim`, and perhaps a source."""

    def make():
        index = torch.rand(shape).argsort(dim).int()
        operands = [Operand(values(*shape), dtype, layout), Operand(index, U32, layout)]
        if source:
            operands.append(Operand(values(*shape), dtype, layout))
        return tuple(operands)

    marks = (f"along-{dim}", "rows" if layout == ROWS else "", PLAIN[values])
    return Sample(shape, make, dtype, "dram", "-".join(filter(None, marks)), {"dim": dim})


def put_along(x, index, source, *, dim):
    result = x.float().numpy().copy()
    np.put_along_axis(result, index.numpy(), source.float().numpy(), dim)
    return torch.from_numpy(result).to(x.dtype)


GATHER = Op(
    "gather",
    call=lambda x, index, *, dim: ttnn.gather(x, dim, index),
    golden=lambda x, index, *, dim: by_numpy(np.take_along_axis, x, index.numpy(), dim),
    samples=(*tuple(indexed(ODD, dim) for dim in (-1, 2, 1, 0)), indexed(ODD, -1, FP32)),
    references=(
        indexed(LOGITS, -1, values=massive),
        indexed(HIDDEN, 2, values=extreme),
    ),
    errors=(
        Refused(
            "layout",
            lambda device: ttnn.gather(
                on(device, plain(32, 64)), -1, on(device, plain(32, 64), BF16)
            ),
            "",
        ),
    ),
)

SCATTER = Op(
    "scatter",
    call=lambda x, index, source, *, dim: ttnn.scatter(x, dim, index, source),
    golden=put_along,
    samples=(
        *(indexed(ODD, dim, source=True) for dim in (-1, 2, 1, 0)),
        indexed(ODD, -1, source=True, layout=ROWS),
        indexed(ODD, -1, FP32, source=True, layout=ROWS),
    ),
    references=(
        indexed(LOGITS, -1, values=massive, source=True, layout=ROWS),
        indexed((1, 1, 128, 256), 2, values=extreme, source=True),
    ),
    errors=(
        Refused(
            "reduction",
            lambda device: ttnn.scatter(
                on(device, plain(32, 64)),
                -1,
                on(device, torch.zeros(32, 64, dtype=torch.int32), U32),
                on(device, plain(32, 64)),
                reduce="sum",
            ),
            "reduce must be either",
        ),
    ),
)

# --- by place ------------------------------------------------------------------------------------


def of_place(shape, note, layout=TILE, dtype=BF16, values=plain, **kwargs):
    return moved(shape, dtype, layout, values=values, note=note, **kwargs)


ROLL = Op(
    "roll",
    call=lambda x, *, shifts, dim: ttnn.roll(x, shifts, dim),
    golden=lambda x, *, shifts, dim: by_numpy(np.roll, x, shifts, dim),
    samples=(
        of_place(ODD, "rows-by-3", shifts=3, dim=2),
        of_place(ODD, "columns-back", shifts=-1, dim=3),
        of_place(ODD, "two", shifts=[1, 2], dim=[1, 2]),
        of_place(ODD, "rows-by-3", ROWS, shifts=3, dim=2),
        of_place(ODD, "rows-by-3", dtype=FP32, shifts=3, dim=2),
    ),
    references=(
        of_place(HIDDEN, "half", values=massive, shifts=1536, dim=3),
        of_place((1, 1, 128, 256), "rows", values=extreme, shifts=5, dim=2),
    ),
    errors=(
        Refused(
            "lists",
            lambda device: ttnn.roll(on(device, plain(32, 64)), [1, 2], [1]),
            "",
        ),
    ),
)


def triangle(name, function):
    return Op(
        name,
        call=lambda x, *, diagonal: getattr(ttnn, name)(x, diagonal=diagonal),
        golden=lambda x, *, diagonal: by_numpy(function, x, diagonal),
        samples=(
            *(of_place(ODD, f"diagonal{n}", diagonal=n) for n in (0, 2, -3)),
            of_place(ODD, "diagonal0", dtype=FP32, diagonal=0),
        ),
        references=(
            of_place((1, 1, 256, 256), "mask", values=massive, diagonal=0),
            of_place((1, 1, 128, 256), "mask", values=extreme, diagonal=1),
        ),
        errors=(
            Refused(
                "rows-in-part-of-a-tile",
                lambda device: getattr(ttnn, name)(on(device, plain(37, 80), layout=ROWS)),
                "implicitly changed physical shape",
            ),
        ),
    )


# --- in order ------------------------------------------------------------------------------------


def ordered(shape, dim, values=distinct, dtype=BF16, **kwargs):
    def make():
        x = values(*shape)
        return (Operand(x if dim == -1 else x.transpose(dim, -1).contiguous(), dtype),)

    marks = "-".join(f"{name}-{value}".lower() for name, value in kwargs.items())
    note = "-".join(filter(None, (f"along-{dim}", marks, PLAIN[values])))
    return Sample(shape, make, dtype, "dram", note, {"dim": dim} | kwargs)


SORT = Op(
    "sort",
    call=lambda x, *, dim, descending: ttnn.sort(x, dim, descending)[0],
    golden=lambda x, *, dim, descending: (
        by_numpy(np.sort, -x if descending else x, dim) * (-1 if descending else 1)
    ),
    samples=(
        ordered((1, 2, 32, 64), -1, descending=False),
        ordered((1, 2, 37, 100), -1, descending=True),
        ordered((1, 2, 64, 64), 2, descending=False),
        ordered(ODD, -1, plain, descending=True),
        ordered((1, 2, 32, 64), -1, plain, FP32, descending=False),
    ),
    references=(
        ordered(LOGITS, -1, massive, descending=True),
        ordered((1, 1, 32, 1024), -1, extreme, descending=False),
    ),
    errors=(Refused("dim", of_rank("sort"), ""),),
)

TOPK = Op(
    "topk",
    call=lambda x, *, dim, k, largest: ttnn.topk(x, k, dim, largest, True)[0],
    golden=lambda x, *, dim, k, largest: (
        by_numpy(np.sort, -x if largest else x, dim).narrow(dim, 0, k) * (-1 if largest else 1)
    ),
    samples=(
        ordered((1, 2, 32, 64), -1, k=32, largest=True),
        ordered((1, 2, 37, 100), -1, k=8, largest=True),
        ordered((1, 2, 32, 256), -1, k=50, largest=False),
        ordered((1, 2, 64, 64), 2, k=20, largest=True),
        ordered(ODD, -1, plain, k=33, largest=True),
    ),
    references=(
        ordered(LOGITS, -1, massive, k=32, largest=True),
        ordered((1, 1, 32, 1024), -1, extreme, k=64, largest=True),
    ),
    errors=(
        Refused(
            "k",
            lambda device: ttnn.topk(on(device, plain(1, 1, 32, 64)), 65),
            "K cannot be larger than the dimension size",
        ),
    ),
)

# --- running -------------------------------------------------------------------------------------


def scanned(shape, dim, dtype=BF16, values=plain, memory="dram", **kwargs):
    def make():
        if dtype == I32:
            return (Operand(torch.randint(-1000, 1000, shape, dtype=torch.int32), I32),)
        return (Operand(values(*shape), dtype, TILE, memory),)

    marks = [f"along-{dim}", PLAIN.get(values, "near-one"), "reversed" if kwargs else ""]
    note = "-".join(filter(None, marks))
    return Sample(shape, make, dtype, memory, note, {"dim": dim} | kwargs)


def near_one(*shape):
    """Factors whose products stay in range."""
    return 1 + 0.1 * torch.randn(shape)


def rounded_scan(function):
    """The floor of a scan in float32 whose results are rounded once."""

    def floor(golden, x, *, dim, reverse_order=False):
        steps = x.float().flip(dim) if reverse_order else x.float()
        result = function(steps, dim)
        result = result.flip(dim) if reverse_order else result
        out = op_floors.output(golden, "bfloat16")
        return op_floors.chain(op_floors.between(golden, result.double()), out)

    return floor


def with_order(function):
    def golden(x, *, dim, reverse_order=False):
        if not reverse_order:
            return torch.from_numpy(function(x.numpy(), axis=dim))
        return torch.from_numpy(function(x.flip(dim).numpy(), axis=dim)).flip(dim)

    return golden


def scan(name, function, in_torch, values):
    return Op(
        name,
        call=lambda x, *, dim, **kwargs: getattr(ttnn, name)(x, dim, **kwargs),
        golden=with_order(function),
        floor=rounded_scan(in_torch),
        samples=(
            *(scanned(ODD, dim, values=values) for dim in (-1, 2, 1, 0)),
            scanned(ODD, -1, values=values, reverse_order=True),
            scanned(ODD, 2, values=values, memory="l1"),
        ),
        references=(
            scanned((1, 1, 32, 256), -1, values=values),
            scanned((1, 1, 256, 96), 2, values=massive if values is plain else values),
        ),
        errors=(Refused("dim", lambda device: _scan_of_rank(name, device), "accumulation axis"),),
    )


def _scan_of_rank(name, device):
    return getattr(ttnn, name)(on(device, plain(1, 1, 32, 64)), 7)


OPS = [
    GATHER,
    SCATTER,
    ROLL,
    triangle("tril", np.tril),
    triangle("triu", np.triu),
    SORT,
    TOPK,
    scan("cumsum", np.cumsum, torch.cumsum, plain),
    scan("cumprod", np.cumprod, torch.cumprod, near_one),
]
