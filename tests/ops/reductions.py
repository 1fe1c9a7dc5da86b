"""Sums, means, extremes, deviations and products over dimensions; softmax with a mask; gates."""

import torch
import ttnn
from torch.nn import functional

from ttnn_verify.numerics import destination, floors, op_floors, rounding

from .along import distinct, near_one
from .entries import case, entry, given
from .movement import BF16, FP32, HIDDEN, ODD, U32
from .operands import on
from .opinfo import PLAIN, Operand, Refused, Sample, massive, plain

MATRICES = (1, 3, 64, 32)


def over(shape, dim, values=plain, dtype=BF16, **kwargs):
    note = "-".join(
        part
        for part in (
            "over-" + "-".join(map(str, dim if isinstance(dim, tuple) else (dim,))),
            PLAIN.get(values, ""),
            *(name for name in kwargs),
        )
        if part
    )
    kwargs |= {"dim": dim, "out": dtype}
    return Sample(shape, lambda: (Operand(values(*shape), dtype),), dtype, note=note, kwargs=kwargs)


def rounded(golden, times=1):
    return floors.chain(*[op_floors.output(golden, "bfloat16")] * times)


# --- sums and extremes ---------------------------------------------------------------------------


def of_dim(name):
    return Refused("dim", lambda device: getattr(ttnn, name)(on(device, plain(32, 64)), dim=4), "")


def reduction(name, golden, exact=False):
    def floor(expected, x, *, dim, out, keepdim=False):
        return op_floors.reduce(name, x, dim=dim, out=out.name.lower())

    call = getattr(ttnn, name)
    return entry(
        name,
        lambda x, *, dim, out, keepdim=False: call(x, dim=dim, keepdim=keepdim),
        lambda x, *, dim, out, keepdim=False: golden(x, dim, keepdim=keepdim),
        (
            *(over(ODD, dim) for dim in (-1, -2, 1, (2, 3))),
            over(ODD, -1, keepdim=True),
            over(ODD, -1, dtype=FP32),
        ),
        (over(HIDDEN, -1, massive), over(HIDDEN, -2, massive)),
        None if exact else floor,
        refused=of_dim(name),
    )


# --- deviations ----------------------------------------------------------------------------------


def deviation(name, golden):
    """Of the kernel's own: one rounding after sums in float32 of squares, each rounded once."""
    call = getattr(ttnn, name)
    return entry(
        name,
        lambda x, *, dim, out, keepdim=False: call(x, dim=dim, keepdim=keepdim),
        lambda x, *, dim, out, keepdim=False: golden(x, dim, keepdim=keepdim),
        (*(over(ODD, dim) for dim in (-1, -2, (2, 3))), over(ODD, -1, keepdim=True)),
        (over(HIDDEN, -1, massive),),
        lambda expected, x, **how: rounded(expected, 2),
        refused=of_dim(name),
    )


def squares(x):
    return (x - x.mean((-2, -1), keepdim=True)).square()


def variance_floor(golden, x):
    """The mean of squares that were rounded, kept in bfloat16 and rounded once more."""
    mean = op_floors.reduce("mean", squares(x), dim=(-2, -1))
    return floors.chain(mean, rounded(golden, 2))


def normalised_floor(golden, x):
    """Differences, a variance, its root and a product, of which each is rounded."""
    return floors.chain(
        variance_floor(squares(x).mean((-2, -1), keepdim=True), x), rounded(golden, 3)
    )


def of_matrices(name, golden, floor):
    return entry(
        name,
        lambda x: getattr(ttnn, name)(x),
        golden,
        (case(MATRICES), case((2, 2, 32, 64))),
        (case((1, 8, 128, 256)),),
        floor,
    )


def variance(x):
    return x.var((-2, -1), correction=0, keepdim=True)


def normalised(x):
    return functional.layer_norm(x, x.shape[-2:], eps=0.0)


def normalised_whole(x):
    return functional.layer_norm(x, x.shape, eps=0.0)


def whole_floor(golden, x):
    return normalised_floor(golden, x.reshape(1, 1, x.shape[-2], -1)) if x.dim() > 2 else None


# --- products and running sums -------------------------------------------------------------------


def product_floor(golden, x, *, dim, out):
    """Products in HiFi4, each of whose four phases a 16-bit destination rounds, one by one."""
    total, *factors = x.float().unbind(dim)
    for factor in factors:
        total = rounding.multiply(total, factor, "HiFi4", fp32_dest_acc=False)
    return destination.packed(golden, total.double().reshape(golden.shape), "bfloat16")


def summed(x, dim):
    """Terms added one after the other, each sum rounded to bfloat16."""
    total = torch.zeros_like(x.select(dim, 0))
    for term in x.unbind(dim):
        total = (total + term).bfloat16().double()
    return total


def tiles_floor(golden, x, *, dim, **how):
    value = summed(x, dim).reshape(golden.shape) if torch.is_tensor(golden) else None
    return floors.chain(op_floors.between(golden, value), rounded(golden))


def averaged(x, *, alpha):
    """The moving average as pandas and the field write it: each value's weights, from the last."""
    steps = torch.arange(x.shape[-1], dtype=x.dtype)
    age = steps[:, None] - steps
    weights = torch.where(age >= 0, (1 - alpha) * alpha ** age.clamp(min=0), 0.0)
    return x @ weights.T


PRODUCTS = [
    entry(
        "prod",
        lambda x, *, dim, out: ttnn.prod(x, dim, keepdim=True),
        lambda x, *, dim, out: x.prod(dim, keepdim=True),
        (
            *(over((2, 4, 37, 50), dim, near_one) for dim in (0, 1)),
            *(over((1, 2, 5, 7), dim, near_one) for dim in (2, 3)),
        ),
        (over((1, 8, 128, 256), 1, near_one),),
        product_floor,
        refused=of_dim("prod"),
    ),
    entry(
        "ema",
        lambda x, *, alpha: ttnn.ema(x, alpha),
        averaged,
        (case((1, 1, 32, 64), alpha=0.25), case((1, 1, 64, 96), alpha=0.5, note="half")),
        (case((1, 1, 128, 512), alpha=0.75),),
        lambda golden, x, *, alpha: rounded(golden, 2),
    ),
    entry(
        "fast_reduce_nc",
        lambda x, *, dim: ttnn.experimental.fast_reduce_nc(x, dims=[dim]),
        lambda x, *, dim: x.sum(dim, keepdim=True),
        (case((2, 4, 32, 64), dim=1), case((3, 2, 64, 32), dim=0, note="batch")),
        (case((1, 8, 128, 768), dim=1),),
        tiles_floor,
    ),
    entry(
        "deepseek_moe_fast_reduce_nc",
        lambda x, *, dim, size: ttnn.experimental.deepseek_moe_fast_reduce_nc(
            x, dim, split_size=size
        ),
        lambda x, *, dim, size: x.sum(dim, keepdim=True).split(size, -1),
        (case((4, 1, 32, 128), dim=0, size=64), case((2, 1, 32, 96), dim=0, size=32, note="two")),
        (case((8, 1, 128, 1024), dim=0, size=512),),
        lambda golden, x, **how: rounded(golden, 2),
    ),
    entry(
        "argmax",
        lambda x: ttnn.argmax(x, dim=-1),
        lambda x: x.argmax(-1),
        (
            case(given(lambda: distinct(1, 2, 32, 64)), result=U32),
            case(given(lambda: distinct(1, 2, 37, 100)), result=U32),
            case(
                given(lambda: distinct(1, 1, 64, 96), layout=ttnn.ROW_MAJOR_LAYOUT),
                result=U32,
                note="rows",
            ),
        ),
        (case(given(lambda: distinct(1, 1, 128, 256)), result=U32),),
    ),
]

# --- softmax -------------------------------------------------------------------------------------


def masked(shape, mask=None, note="", **how):
    def keys():
        return torch.where(torch.rand(mask) > 0.5, 0.0, -1e9)

    return case(shape, *([given(keys)] if mask else []), note=note, **how)


def scores(x, mask=None, *, scale=1.0):
    return x * scale + (0 if mask is None else mask[..., :1, :])


def softmax_entry(name, call, samples, references):
    return entry(
        name,
        call,
        lambda x, mask=None, **how: scores(x, mask, **how).softmax(-1),
        samples,
        references,
        lambda golden, x, mask=None, **how: op_floors.softmax(scores(x, mask, **how)),
    )


SCALED = (
    masked((1, 2, 64, 96), (1, 1, 1, 96), "one-row", scale=0.5),
    masked((1, 2, 64, 96), (1, 1, 32, 96), "a-tile-of-rows", scale=0.125),
)
LARGE = (masked((1, 8, 128, 256), (1, 1, 1, 256), scale=0.125),)
ATTENTION = ttnn.transformer


def of_head_size(call):
    return lambda x, mask, *, scale: call(x, head_size=round(scale**-2), attention_mask=mask)


SOFTMAX = [
    softmax_entry(
        "softmax_in_place",
        lambda x: ttnn.softmax_in_place(x),
        (case((1, 2, 64, 96)), case((1, 1, 37, 80))),
        (case((1, 8, 128, 256)),),
    ),
    softmax_entry(
        "scale_mask_softmax",
        lambda x, mask, *, scale: ttnn.scale_mask_softmax(x, scale, mask),
        SCALED,
        LARGE,
    ),
    softmax_entry(
        "scale_mask_softmax_in_place",
        lambda x, mask, *, scale: ttnn.scale_mask_softmax_in_place(x, scale, mask),
        SCALED,
        LARGE,
    ),
    softmax_entry(
        "attention_softmax",
        of_head_size(ATTENTION.attention_softmax),
        (masked((1, 2, 64, 96), (1, 1, 1, 96), scale=0.125),),
        LARGE,
    ),
    softmax_entry(
        "attention_softmax_",
        of_head_size(ATTENTION.attention_softmax_),
        (masked((1, 2, 64, 96), (1, 1, 1, 96), scale=0.125),),
        LARGE,
    ),
]

# --- with a mask of a row for each row of the scores ---------------------------------------------


def causal(heads, rows):
    """Scores [1, N, S, S], a head to a core, and a mask that hides positions to come."""

    def future():
        return torch.full((1, 1, rows, rows), -1e9).triu(1)

    scores = given(lambda: plain(1, heads, rows, rows))
    return case(scores, given(future), note=f"{heads}-heads", rows=rows)


def causal_call(x, mask, *, rows):
    heads = x.shape[1]
    shards = ttnn.create_sharded_memory_config(
        tuple(x.shape), ttnn.CoreGrid(x=heads, y=1), ttnn.ShardStrategy.HEIGHT
    )
    blocks = ttnn.SoftmaxShardedMultiCoreProgramConfig(
        compute_with_storage_grid_size=ttnn.CoreCoord(heads, 1),
        subblock_w=1,
        block_h=rows // 32,
        block_w=rows // 32,
    )
    return ttnn.scale_causal_mask_hw_dims_softmax_in_place(
        ttnn.to_memory_config(x, shards), 0.125, mask, program_config=blocks
    )


CAUSAL = entry(
    "scale_causal_mask_hw_dims_softmax_in_place",
    causal_call,
    lambda x, mask, *, rows: (x * 0.125 + mask).softmax(-1),
    (causal(2, 64), causal(4, 32)),
    (causal(8, 128),),
    lambda golden, x, mask, *, rows: op_floors.softmax(x * 0.125 + mask),
    refused=Refused(
        "torch",
        lambda device: ttnn.scale_causal_mask_hw_dims_softmax_in_place(plain(32, 32), 0.125),
        "incompatible",
    ),
)

# --- gated units ---------------------------------------------------------------------------------


def gated_unit(name, golden, activation):
    def floor(expected, x):
        steps = [op_floors.vector(expected, "bfloat16", activation)] if activation else []
        return floors.chain(*steps, rounded(expected, 2))

    return entry(
        name,
        lambda x: getattr(ttnn, name)(x),
        golden,
        (case((1, 1, 32, 128)), case((1, 2, 64, 192))),
        (case((1, 1, 32, 4096)),),
        floor,
    )


def by_gate(activation):
    def golden(x):
        value, gate = x.chunk(2, -1)
        return value * activation(gate)

    return golden


GATED = [
    gated_unit("glu", functional.glu, "sigmoid"),
    gated_unit("reglu", by_gate(functional.relu), ""),
    gated_unit("geglu", by_gate(functional.gelu), "gelu"),
    gated_unit("swiglu", by_gate(functional.silu), "silu"),
]

OPS = [
    reduction("sum", torch.sum),
    reduction("mean", torch.mean),
    reduction("max", torch.amax, exact=True),
    reduction("min", torch.amin, exact=True),
    deviation("std", torch.std),
    deviation("var", torch.var),
    of_matrices("var_hw", variance, variance_floor),
    of_matrices("std_hw", lambda x: variance(x).sqrt(), variance_floor),
    of_matrices("normalize_hw", normalised, normalised_floor),
    of_matrices("normalize_global", normalised_whole, whole_floor),
    *PRODUCTS,
    *SOFTMAX,
    CAUSAL,
    *GATED,
]
