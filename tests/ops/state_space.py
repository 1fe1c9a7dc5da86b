"""Mamba's recurrence, its product by latents and its sum over them.

L positions, 32 latents of a channel side by side in W columns.
"""

import torch
import ttnn

from ttnn_verify.numerics import op_floors

from .entries import BF16, case, entry, given
from .operands import on
from .opinfo import PLAIN, Refused, extreme, massive, plain

X = ttnn.experimental
BFP8 = ttnn.bfloat8_b
IN_BLOCKS = {"dtype": BFP8, "out": "bfloat8_b"}
LOFI, HIFI2, HIFI3 = (getattr(ttnn.MathFidelity, name) for name in ("LoFi", "HiFi2", "HiFi3"))
CHANNELS = 5120  # the only number that the product takes
WIDTH = 32 * CHANNELS


def fidelity_of(how):
    return how["math_fidelity"].name if "math_fidelity" in how else "HiFi4"


def without_out(operation):
    """The call of an operation beside whose arguments a sample says its format to the floor."""
    return lambda *tensors, out="", **how: operation(*tensors, **how)


def rounded_last(golden, rounded, out="bfloat16"):
    return op_floors.chain(op_floors.between(golden, rounded), op_floors.output(golden, out))


# --- the recurrence ------------------------------------------------------------------------------


def spread(rows, width, cores):
    """Columns in equal parts on `cores` cores in a row."""
    last = ttnn.CoreCoord(cores - 1, 0)
    grid = ttnn.CoreRangeSet({ttnn.CoreRange(ttnn.CoreCoord(0, 0), last)})
    spec = ttnn.ShardSpec(grid, [rows, width // cores], ttnn.ShardOrientation.ROW_MAJOR)
    return ttnn.MemoryConfig(ttnn.TensorMemoryLayout.WIDTH_SHARDED, ttnn.BufferType.L1, spec)


def scanned(a, bx, h, cores, how):
    _, _, rows, width = tuple(a.padded_shape)
    a, bx = (ttnn.to_memory_config(x, spread(rows, width, cores)) for x in (a, bx))
    h = ttnn.to_memory_config(h, spread(1, width, cores))
    return X.prefix_scan(a, bx, h, **how), h


def recurrence(a, bx, h):
    states = [h[0, 0, 0]]
    for position in range(a.shape[2]):
        states.append(a[0, 0, position] * states[-1] + bx[0, 0, position])
    return torch.stack(states[1:])[None, None]


def scan_floor(golden, a, bx, h, *, cores, out="bfloat16", **how):
    """Product and sum of each step are rounded; of the state after the last, the last row's."""
    fidelity, state, states = fidelity_of(how), h[0, 0, 0].float(), []
    for factor, term in zip(a[0, 0].float(), bx[0, 0].float(), strict=True):
        kept = op_floors.multiply(state, factor, fidelity, False)
        state = op_floors.add(kept, term, False)
        states.append(state)
    rounded = torch.stack(states)[None, None, -golden.shape[2] :].double()
    return rounded_last(golden, rounded, out)


def scan_case(rows, width, cores, dtype=BF16, values=plain, **how):
    """Factors below 1, as a state space's are; `values` makes what is added."""
    return case(
        given(lambda: torch.rand(1, 1, rows, width), dtype),
        given(lambda: values(1, 1, rows, width), dtype),
        given(lambda: plain(1, 1, 1, width), layout=ttnn.ROW_MAJOR_LAYOUT),
        note="-".join(filter(None, [f"{cores}-cores", PLAIN[values], fidelity_of(how).lower()])),
        cores=cores,
        out=dtype.name.lower(),
        **how,
    )


SCAN = entry(
    "prefix_scan",
    lambda a, bx, h, *, cores, out, **how: scanned(a, bx, h, cores, how)[0],
    lambda a, bx, h, **how: recurrence(a, bx, h),
    (
        scan_case(32, 32, 1),
        scan_case(64, 192, 2, BFP8),
        scan_case(32, 1088, 1),  # a chunk of 1024 columns and a part of one
        scan_case(32, 2048, 2, math_fidelity=HIFI2),
        scan_case(32, 96, 3, BFP8, math_fidelity=LOFI),
    ),
    (scan_case(64, 8192, 8, values=massive), scan_case(32, 1024, 1, values=extreme)),
    scan_floor,
    refused=Refused(
        "interleaved",
        lambda device: X.prefix_scan(
            on(device, plain(1, 1, 32, 64)),
            on(device, plain(1, 1, 32, 64)),
            on(device, plain(1, 1, 1, 64), layout=ttnn.ROW_MAJOR_LAYOUT),
        ),
        "Expected input tensors to be sharded",
    ),
)

LAST_STATE = entry(
    "prefix_scan_state",
    lambda a, bx, h, *, cores, out, **how: scanned(a, bx, h, cores, how)[1],
    lambda a, bx, h, **how: recurrence(a, bx, h)[:, :, -1:],
    (scan_case(32, 64, 2), scan_case(64, 2112, 1)),
    (scan_case(128, 2048, 8, values=massive),),
    scan_floor,
    operation="prefix_scan",
    refused=Refused(
        "tiles",
        lambda device: scanned(*(on(device, plain(1, 1, n, 64)) for n in (32, 32, 32)), 1, {}),
        "",
    ),
)

# --- latents -------------------------------------------------------------------------------------


def widened(a, b):
    a = a if a.shape[-1] == WIDTH else a.repeat(1, 1, 1, CHANNELS)
    return a, b if b.shape[-1] == WIDTH else b.repeat_interleave(32, -1)


def by_latents(a, b, **how):
    return torch.mul(*widened(a, b))


def product_floor(golden, a, b, *, out="bfloat16", **how):
    first, second = widened(a.float(), b.float())
    rounded = op_floors.multiply(second, first, fidelity_of(how), False)
    return rounded_last(golden, rounded.double(), out)


PRODUCT = entry(
    "repeat_and_interleave_eltwise_mul",
    without_out(X.repeat_and_interleave_eltwise_mul),
    by_latents,
    (
        case((1, 1, 32, 32), (1, 1, 32, CHANNELS)),
        case((1, 1, 32, 32), (1, 1, 32, WIDTH), note="all-of-b"),
        case(
            (1, 1, 32, WIDTH),
            (1, 1, 32, CHANNELS),
            **IN_BLOCKS,
            note="hifi3",
            math_fidelity=HIFI3,
        ),
    ),
    (
        case(
            given(lambda: massive(1, 1, 64, 32)),
            given(lambda: extreme(1, 1, 64, CHANNELS)),
            note="massive-extreme",
        ),
    ),
    product_floor,
    refused=Refused(
        "width",
        lambda device: X.repeat_and_interleave_eltwise_mul(
            on(device, plain(1, 1, 32, 32)), on(device, plain(1, 1, 32, 64))
        ),
        "Input b width must be",
    ),
)


def sum_floor(golden, x, *, out="bfloat16", **how):
    """Each face of 16 latents is added in two parts of its bits, and every sum rounded."""
    total = torch.zeros(golden.shape)
    for face in x.float().unflatten(-1, (-1, 2, 16)).unbind(-2):
        for ones, part in op_floors.phases(torch.ones(1), face, fidelity_of(how)):
            total = (total + (ones * part).sum(-1)).bfloat16().float()
    return rounded_last(golden, total.double(), out)


SUM = entry(
    "hc_sum_reduce",
    without_out(X.hc_sum_reduce),
    lambda x, **how: x.unflatten(-1, (-1, 32)).sum(-1),
    (
        case((1, 1, 32, 1024)),
        case((1, 1, 64, 3072), **IN_BLOCKS),
        case((1, 1, 96, 2048), note="lofi", math_fidelity=LOFI),
    ),
    (
        case(given(lambda: massive(1, 1, 32, WIDTH)), note="massive"),
        case(given(lambda: extreme(1, 1, 64, 2048)), note="extreme"),
    ),
    sum_floor,
    refused=Refused(
        "width",
        lambda device: X.hc_sum_reduce(on(device, plain(1, 1, 32, 512))),
        "must be a multiple of latent size",
    ),
)

OPS = [SCAN, LAST_STATE, PRODUCT, SUM]
