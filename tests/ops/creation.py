"""Ops that make a tensor from its shape; random numbers by what holds for any of them."""

import torch
import ttnn

from ttnn_verify.numerics import floors

from .entries import case, entry, given
from .movement import BF16, FP32, I32, ODD, ROWS, TILE, U32, moved
from .opinfo import Refused, plain

LARGE = (1, 1, 128, 3072)


def like(x):
    """Arguments by which a tensor is made as x is."""
    return {"dtype": x.dtype, "layout": x.layout, "device": x.device()}


def refuses(name, *arguments):
    """A shape that is none."""
    return Refused(
        "shape",
        lambda device: getattr(ttnn, name)("shape", *arguments),
        "incompatible function arguments",
    )


def made(name, call, golden, *, floats=False, refused=None):
    """An entry whose operand says the shape, the dtype and the layout."""
    kinds = [(BF16, TILE), (FP32, TILE), *([] if floats else [(I32, TILE), (U32, ROWS)])]
    return entry(
        name,
        call,
        golden,
        (*(moved(ODD, dtype, layout) for dtype, layout in kinds), moved((1, 1, 1, 33), BF16, ROWS)),
        (moved(LARGE),),
        refused=refused or refuses(name),
    )


def held(make):
    """What is written into memory that was only allocated."""

    def call(x):
        return ttnn.copy(x, make(x))

    return call


CONSTANTS = [
    made("zeros", lambda x: ttnn.zeros(x.shape, **like(x)), torch.zeros_like),
    made("ones", lambda x: ttnn.ones(x.shape, **like(x)), torch.ones_like),
    made("full", lambda x: ttnn.full(x.shape, 7, **like(x)), lambda x: torch.full_like(x, 7)),
    made("zeros_like", ttnn.zeros_like, torch.zeros_like),
    made("ones_like", ttnn.ones_like, torch.ones_like),
    made("full_like", lambda x: ttnn.full_like(x, 7), lambda x: torch.full_like(x, 7)),
    made(
        "moreh_full",
        lambda x: ttnn.moreh_full(list(x.shape), 7.0, x.device(), dtype=x.dtype, layout=x.layout),
        lambda x: torch.full_like(x, 7),
        floats=True,
        refused=Refused(
            "dtype",
            lambda device: ttnn.moreh_full([32, 32], 7, device, dtype=ttnn.uint32),
            "BFLOAT16",
        ),
    ),
    made(
        "moreh_full_like",
        lambda x: ttnn.moreh_full_like(x, 7.0),
        lambda x: torch.full_like(x, 7),
        floats=True,
    ),
    made("empty", held(lambda x: ttnn.empty(x.shape, *like(x).values())), lambda x: x),
    made("empty_like", held(ttnn.empty_like), lambda x: x),
]


def numbered(count, **ends):
    """A vector of so many numbers, and the ends they lie between."""
    how = "-".join(str(value) for value in ends.values()).replace("-", "to", 1)
    return case(given(lambda: torch.zeros(count).int(), I32, ROWS), note=how, **ends)


ARANGE = entry(
    "arange",
    lambda x, *, start, end, step: ttnn.arange(start, end, step, dtype=I32, device=x.device()),
    lambda x, *, start, end, step: torch.arange(start, end, step),
    (numbered(5, start=0, end=5, step=1), numbered(4, start=2, end=12, step=3)),
    (numbered(4096, start=0, end=4096, step=1),),
    refused=Refused("text", lambda device: ttnn.arange("0", "5"), "incompatible"),
)

# --- random numbers ------------------------------------------------------------------------------

LOW, HIGH = -1.0, 3.0


def uniform_moments(numbers):
    """Whether all lie between the ends, and their mean, which takes them as one row."""
    inside = ttnn.logical_and(ttnn.ge(numbers, LOW), ttnn.le(numbers, HIGH))
    return inside, ttnn.mean(numbers)


def uniform_golden(x):
    return torch.ones_like(x), torch.full((), (LOW + HIGH) / 2, dtype=x.dtype)


def uniform_floor(golden, x):
    """The mean's standard error: the width over the root of twelve, and that of the count."""
    if golden.dim():
        return floors.EXACT
    return floors.of_errors(
        golden, (HIGH - LOW) / (12 * x.numel()) ** 0.5 * torch.ones_like(golden)
    )


def normal_moments(x):
    numbers = ttnn.randn(x.shape, x.device(), dtype=x.dtype, layout=x.layout, seed=3)
    return ttnn.isfinite(numbers), ttnn.mean(ttnn.square(numbers))


def normal_floor(golden, x):
    """The standard error of a mean of squares, each of variance 2."""
    if golden.dim():
        return floors.EXACT
    return floors.of_errors(golden, torch.full_like(golden, (2 / x.numel()) ** 0.5))


def uniform(x):
    return uniform_moments(ttnn.uniform(x, LOW, HIGH, 3))


def rand(x):
    how = {"dtype": x.dtype, "layout": x.layout, "low": LOW, "high": HIGH, "seed": 3}
    return uniform_moments(ttnn.rand(x.shape, x.device(), **how))


WHOLE = ((1, 1, 64, 96), (2, 32, 64))


def random(name, call, golden, floor, refused):
    samples = [case(shape) for shape in WHOLE] + [case((1, 1, 64, 96), dtype=FP32)]
    return entry(name, call, golden, samples, (case((1, 1, 128, 1024)),), floor, refused=refused)


RANDOM = [
    random("rand", rand, uniform_golden, uniform_floor, refuses("rand")),
    random(
        "randn",
        normal_moments,
        lambda x: (torch.ones_like(x), torch.ones((), dtype=x.dtype)),
        normal_floor,
        refuses("randn"),
    ),
    random(
        "uniform",
        uniform,
        uniform_golden,
        uniform_floor,
        Refused("torch", lambda device: ttnn.uniform(plain(32, 32), 0.0, 1.0), "incompatible"),
    ),
    entry(
        "bernoulli",
        lambda x: ttnn.bernoulli(x, seed=3, dtype=BF16),
        lambda x: x,
        (
            case(given(lambda: torch.randint(0, 2, (1, 1, 64, 96)).float()), note="certain"),
            case(given(lambda: torch.randint(0, 2, (37, 80)).float()), note="certain"),
        ),
        (case(given(lambda: torch.randint(0, 2, (1, 1, 128, 512)).float()), note="certain"),),
    ),
]

# --- tokens --------------------------------------------------------------------------------------


def users(value, dtype=BF16):
    """A number for each of 32 users."""
    kind = torch.int32 if dtype == U32 else torch.float32
    return given(lambda: torch.full((32,), value, dtype=kind), dtype, ROWS)


def logits(width):
    return given(lambda: torch.rand(1, 1, 32, width).argsort(-1).float() / 8)


def names(width):
    return given(lambda: torch.arange(width).expand(1, 1, 32, width).int() + 1000, I32, ROWS)


def drawn(width, k, p, note):
    operands = (logits(width), names(width), users(k, U32), users(p), users(1.0))
    return case(*operands, note=note, result=U32)


def likeliest(x, name, *how):
    return x.argmax(-1)[:, None].reshape(1, 1, 1, 32) + 1000


def sample_anew(*operands):
    ttnn.manual_seed(7, device=operands[0].device())
    return ttnn.sampling(*operands)


# Of one candidate, or of chances of nothing, the likeliest token is what is left.
CERTAIN = (drawn(64, 1, 1.0, "one-candidate"), drawn(256, 32, 0.0, "no-chance"))

TOKENS = [
    entry(
        "sampling",
        lambda *operands: ttnn.sampling(*operands, seed=3),
        likeliest,
        CERTAIN,
        (drawn(256, 1, 0.5, "one-candidate"),),
    ),
    entry(
        "manual_seed",
        sample_anew,
        likeliest,
        CERTAIN,
        (drawn(256, 1, 0.5, "one-candidate"),),
        refused=Refused(
            "torch", lambda device: ttnn.manual_seed(plain(32), device=device), "incompatible"
        ),
    ),
]


# --- patterns ------------------------------------------------------------------------------------


def corner(x, *, rows, columns, high=1.0, low=0.0):
    values = torch.full_like(x, low)
    values[..., :rows, :columns] = high
    return values


def pattern(name, **values):
    return entry(
        name,
        lambda x, *, rows, columns, **how: getattr(ttnn, name)(
            *x.shape, rows, columns, x, *how.values()
        ),
        corner,
        (
            moved((1, 2, 32, 64), layout=ROWS, rows=20, columns=10, **values),
            moved((2, 1, 64, 32), layout=ROWS, rows=64, columns=31, **values),
        ),
        (moved((1, 1, 128, 256), layout=ROWS, rows=100, columns=1, **values),),
        refused=Refused("torch", lambda device: getattr(ttnn, name)(plain(32, 32)), "incompatible"),
    )


PATTERNS = [pattern("fill_rm", high=2.0, low=-1.0), pattern("fill_ones_rm")]

OPS = [*CONSTANTS, ARANGE, *RANDOM, *TOKENS, *PATTERNS]
