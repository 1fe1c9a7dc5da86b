"""The noise floor: how far from float64 an operation must end up, by its number formats alone.

Each function takes an operation's inputs, computes it in float64 and once more with just the
roundings that its formats and compute config force, and returns how far the second is from the
first, as a `Floor`. It is a statement of what is documented about the arithmetic (`ttnn_verify.numerics.rounding`),
in as few steps as explain a kernel's error, and shares nothing with any emulation of the kernels.
Inputs hold values of their formats: what a conversion to them loses is no error of the operation.
"""

import dataclasses
import math

import torch

from ttnn_verify.numerics import metrics
from ttnn_verify.numerics.floors import EXACT, Floor, between, chain, of_errors, output
from ttnn_verify.numerics.rounding import (
    BF16_BITS,
    TF32_BITS,
    add,
    blocks,
    cut,
    dot,
    group_alignment,
    line_exp,
    multiply,
    nearest,
    phases,
    row_sum,
)

# A product's floor is taken on at most so many of its columns, evenly spread.
MOST_COLUMNS = 4096

# A few sums may err by little, by luck: they are taken again in other orders of their terms.
LEAST_RESULTS = 256
MOST_ORDERS = 16

# Float32 operations one after the other in a vector function, the last of which rounds the result
# (ckernel_sfpu_exp.h, _recip.h, _silu.h, ...; of a power series those that still matter). They tell
# where the result is float32, and nowhere else.
VECTOR_STEPS = {
    "abs": 1,
    "neg": 1,
    "relu": 1,
    "square": 1,
    "exp": 2,
    "log": 2,
    "reciprocal": 2,
    "rsqrt": 2,
    "sqrt": 2,
    "cos": 3,
    "sin": 3,
    "tanh": 3,
    "sigmoid": 4,  # exponential, sum, inverse in two
    "silu": 5,  # and a product
    "gelu": 7,  # thirteen powers of the argument by Horner's rule
}

# Relative error of the approximate variants, root mean square: the exponential's straight lines
# (mean 0.8 %, deviation 1.8 %), and the tables of six lines of the others, of which the greatest values
# count (measured on all bfloat16 arguments, November 2026).
VECTOR_RELATIVE = {
    "exp_approximate": 0.020,
    "gelu_approximate": 0.006,
    "tanh_approximate": 0.008,
}


def vector(exact, dtype, function):
    """A function of the vector unit: the rounding of its result, and of its own steps.

    The kernels' authors give an error below one unit of bfloat16 for each of `VECTOR_STEPS`.

    Args:
        exact: the result in float64, any shape.
        dtype: as of `output`.
        function: a name in `VECTOR_STEPS` or `VECTOR_RELATIVE`.

    Raises:
        ValueError: a function that nothing is known of.
    """
    if function in VECTOR_RELATIVE:
        off = VECTOR_RELATIVE[function]
        return chain(output(exact, dtype), Floor(off, off))
    if function not in VECTOR_STEPS:
        known = ", ".join([*VECTOR_STEPS, *VECTOR_RELATIVE])
        raise ValueError(f"function {function!r} has no noise floor; these have: {known}.")
    step = output(exact, "float32")
    return chain(output(exact, dtype), *[step] * (VECTOR_STEPS[function] - 1))


def block_float(x, dtype):
    """The host's conversion of values to "bfloat8_b" or "bfloat4_b"."""
    return between(x.double(), blocks(x, dtype))


def typecast(x, dtype):
    """The device's conversion of values to another format."""
    return output(x, dtype)


def matmul(
    a,
    b,
    *,
    fidelity="HiFi2",
    fp32_dest_acc=False,
    packer_l1_acc=True,
    k_block=None,
    weight_dtype="bfloat16",
    out="bfloat16",
    bias=None,
):
    """A product of matrices, a `[..., M, K]` by b `[..., K, N]` (plus bias `[N]`).

    The defaults are those of ttnn.linear and ttnn.matmul without a config.

    Args:
        a, b: operands, values of their formats; b is rounded to `weight_dtype` here, so the floor
            is against the product with the weights as given.
        fidelity: "LoFi", "HiFi2", "HiFi3" or "HiFi4".
        fp32_dest_acc, packer_l1_acc: of the compute config.
        k_block: tiles of K that are summed in one go (in0_block_w); None for TTNN's own choice.
        weight_dtype: a format of values or of blocks.
        out: the format of the result.
    """
    if k_block is None:
        k_block = default_k_block(a.shape[-2], a.shape[-1], b.shape[-1])
    picked = slice(None, None, -(-b.shape[-1] // MOST_COLUMNS))
    b, bias = b[..., picked], None if bias is None else bias[..., picked].float()
    exact = a.double() @ b.double() + (0 if bias is None else bias.double())
    a, b = a.float(), blocks(b, weight_dtype) if weight_dtype in metrics.BLOCK_BITS else b.float()
    if fp32_dest_acc:
        pairs = phases(a, b, fidelity)
        result = sum(first.double() @ second.double() for first, second in pairs)
        if bias is not None:  # the sum is read back as a TF32
            result = cut(result.float(), TF32_BITS) + bias
        aligned = of_errors(exact, group_alignment(a, b))
        floor = chain(between(exact, result), aligned, output(exact, out))
        return dataclasses.replace(floor, erratum=True)
    count = exact.numel()
    a, b, exact = _repeated(a, b, exact)
    result = dot(a, b, fidelity, k_block, packer_l1_acc)
    if bias is not None:
        result = add(result, bias, wide=False)
    return _packed(exact, result, out, count=count)


def default_k_block(rows, depth, columns):
    """Tiles of K that TTNN sums in one go (in0_block_w) on 8 x 8 cores, operands in DRAM.

    matmul_program_config.cpp, up to what L1 holds: of wide operands it may be less.
    """
    rows, depth, columns = (-(-size // 32) for size in (rows, depth, columns))
    if max(rows, columns) > 8 * min(rows, columns) or min(rows, columns) == 1:
        return 2 if depth % 2 == 0 else 1
    return depth // 8 if depth % 8 == 0 else 1


def rms_norm(x, weight, epsilon, *, fidelity="HiFi4", fp32_dest_acc=False, out="bfloat16"):
    """Root-mean-square norm over the last dimension, x `[..., W]`, weight `[W]` or None.

    layernorm.cpp: squares, their sum, the mean (cut), the square root's inverse, two products.
    """
    wide, width = fp32_dest_acc, x.shape[-1]
    rows = x.numel() // width  # all of a row errs by its sum of squares
    x, weight = x.float(), torch.ones(width) if weight is None else weight.float()
    exact = x.double() * (x.double().square().mean(-1, keepdim=True) + epsilon).rsqrt()
    exact = exact * weight.double()
    x, weight, exact = _repeated_rows(x, weight, exact)
    squares = multiply(x, x, fidelity, wide)
    mean = _stored(row_sum(squares, fidelity, wide) / width, wide)
    shifted = add(mean, torch.tensor(float(epsilon)), wide)
    factor = _read(shifted.rsqrt() if wide else nearest(shifted.rsqrt(), BF16_BITS), wide)
    y = _read(multiply(x, factor, fidelity, wide), wide)
    return _packed(exact, multiply(y, weight, fidelity, wide), out, wide, rows)


def softmax(x, *, dim=-1, exp_approximate=None, fp32_dest_acc=True, out="bfloat16"):
    """Softmax over a dimension (softmax.cpp), x of any shape.

    Args:
        exp_approximate: whether the exponential is the approximate one (math_approx_mode); None for
            TTNN's default: unless the tensors are float32.
        fp32_dest_acc: of the compute config.
    """
    if exp_approximate is None:
        exp_approximate = out != "float32"
    x = x.float().movedim(dim, -1)
    exact = torch.softmax(x.double(), -1)
    shifted = add(x, -x.amax(-1, keepdim=True), fp32_dest_acc)
    weights = _exponentials(shifted, exp_approximate, fp32_dest_acc)
    total = row_sum(weights, "HiFi3", fp32_dest_acc)
    inverse = _read(_stored(1 / total, fp32_dest_acc), fp32_dest_acc)
    result = multiply(weights, inverse, "HiFi3", fp32_dest_acc)
    return _packed(exact.movedim(-1, dim), result.movedim(-1, dim), out, fp32_dest_acc)


def attention(q, k, v, *, out="bfloat16", **kwargs):
    """Scaled dot-product attention, q `[B, N, S, D]`, k and v `[B, K, C, D]`.

    Args:
        out: the format of the result.
        kwargs: of `rounded_attention`.
    """
    exact, result = rounded_attention(q, k, v, **kwargs)
    return _packed(exact, result, out, kwargs.get("fp32_dest_acc", False))


def rounded_attention(
    q,
    k,
    v,
    *,
    scale=None,
    causal=True,
    mask=None,
    fidelity="HiFi2",
    fp32_dest_acc=False,
    exp_approximate=True,
    k_chunk=32,
):
    """Attention exactly and with its kernel's roundings, each `[B, N, S, D]`, the last one excepted.

    Scores, exponentials, their sum and their product with v, chunk by chunk (sdpa.cpp,
    sdpa_flash_decode.cpp); the sums are divided last. D is a multiple of 32.

    Args:
        scale: None for 1 / sqrt(D).
        causal: query s sees the keys 0 to s + C - S.
        mask: `[B or 1, N or 1, S, C]`, added to the scaled scores; with causal=False. A decode step
            with a position per batch row is S = 1 and a mask of -inf beyond the position.
        exp_approximate: whether the scores' exponential is the approximate one. It always is, whatever
            the program config says, over a prompt with a 16-bit destination, and in a decode step
            with positions and at most 16 heads.
        k_chunk: keys whose products are summed in one go.
    """
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    heads = q.shape[1] // k.shape[1]
    k, v = (x.float().repeat_interleave(heads, 1) for x in (k, v))
    q, padding = q.float(), -k.shape[-2] % 32
    seen = torch.zeros(1, 1, q.shape[-2], k.shape[-2])
    if causal:
        hidden = torch.ones(seen.shape, dtype=torch.bool).triu(1 + k.shape[-2] - q.shape[-2])
        seen = seen.masked_fill(hidden, -math.inf)
    elif mask is not None:
        seen = mask.float()
    exact = q.double() @ k.double().transpose(-1, -2) * scale + seen.double()
    exact = torch.softmax(exact, -1) @ v.double()
    k, v = (torch.nn.functional.pad(x, (0, 0, 0, padding)) for x in (k, v))
    seen = torch.nn.functional.pad(seen, (0, padding), value=-math.inf)

    wide = fp32_dest_acc

    def kept(x):
        """What is read again of an intermediate result; a decode step keeps all in bfloat16."""
        return cut(x, TF32_BITS) if wide and q.shape[-2] > 1 else nearest(x, BF16_BITS)

    scores = kept(_product(q, k.transpose(-1, -2), fidelity, wide)) + seen / scale
    greatest = scores.amax(-1, keepdim=True)
    shifted = add(scores.clamp(min=-1e30), -greatest, wide) * scale
    weights = _exponentials(shifted, exp_approximate, wide)
    # a partial sum per column of a tile, summed up in bfloat16
    partial = torch.zeros(*weights.shape[:-1], 32)
    for tile in weights.split(32, -1):
        partial = (partial + tile).bfloat16().float()
    total = nearest(_product(partial, torch.ones(32, 1), fidelity, wide), BF16_BITS)
    values = _product(weights, v, fidelity, wide, k_block=k_chunk // 32)
    # the vector unit cuts, the packer rounds
    inverse = nearest(1 / total, BF16_BITS) if wide else cut(1 / total, BF16_BITS)
    return exact, multiply(inverse, kept(values), fidelity, wide)


def rotary(x, cos, sin, *, rotated=None, fidelity="HiFi4", fp32_dest_acc=False, out="bfloat16"):
    """Rotary embedding x * cos + rotated * sin, all `[..., S, D]` or broadcastable.

    Args:
        rotated: x with its halves exchanged and the first negated (Llama's rotate_half) by default.
    """
    x, cos, sin = x.float(), cos.float(), sin.float()
    if rotated is None:
        rotated = torch.cat([-x[..., x.shape[-1] // 2 :], x[..., : x.shape[-1] // 2]], -1)
    exact = x.double() * cos.double() + rotated.double() * sin.double()
    factors = (cos, x), (sin, rotated.float())
    terms = [nearest(multiply(*pair, fidelity, fp32_dest_acc), BF16_BITS) for pair in factors]
    return _packed(exact, add(*terms, fp32_dest_acc), out, fp32_dest_acc)


def reduce(op, x, *, dim=-1, out="bfloat16"):
    """A reduction over `dim`, kept with size 1: "sum", "mean", or the exact "max" and "min".

    Sums are kept in 32 bits. A mean's factor is cut to bfloat16 for the matrix unit, to which float32
    tensors do not go.

    Args:
        dim: a dimension or several.
    """
    if op in ("max", "min"):
        return EXACT
    if op not in ("sum", "mean"):
        raise ValueError(f"reduction {op!r}: 'sum', 'mean', 'max' and 'min' have floors.")
    exact = x.double().sum(dim, keepdim=True)
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    rows = x.float().movedim(dims, tuple(range(-len(dims), 0))).flatten(-len(dims))
    count = rows.shape[-1]
    if out == "float32":  # the vector unit adds tile to tile, then the columns of the sum
        columns = sum(torch.nn.functional.pad(rows, (0, -count % 32)).split(32, -1))
        summed = sum(columns.unbind(-1)).reshape(exact.shape)
        return chain(between(exact, summed), output(exact, out))
    error = group_alignment(rows.flatten(0, -2), torch.ones(count, 1)).reshape(exact.shape)
    divisor = 1.0 if op == "sum" else cut(torch.tensor(1 / count), BF16_BITS).item() * count
    return chain(between(exact, exact * divisor), of_errors(exact, error), output(exact, out))


def _packed(exact, result, out, wide=False, count=None):
    """The floor of a result in the destination that is packed to format `out`."""
    last, shown = output(exact, out), between(exact, result, count)
    if wide or out in metrics.BLOCK_BITS:
        return chain(shown, last)
    # of 16 bits, it has been rounded already; of one or few elements by luck to the exact value
    return Floor(max(shown.relative_l2, last.relative_l2), max(shown.worst_row, last.worst_row))


def _stored(x, wide):
    """What the vector unit stores into the destination: it cuts."""
    return x if wide else cut(x, BF16_BITS)


def _read(x, wide):
    """What the matrix unit reads of an intermediate result: of float32, a TF32."""
    return cut(x, TF32_BITS) if wide else x


def _product(b, a, fidelity, wide, k_block=None):
    if not wide:
        return dot(b, a, fidelity, k_block, l1_acc=k_block is not None)
    return sum(first @ second for first, second in phases(b, a, fidelity))


def _exponentials(x, approximate, wide):
    """e^x as a bfloat16: cut by the vector unit, rounded by the packer."""
    if approximate:
        x = line_exp(x)
        return nearest(x, BF16_BITS) if wide else cut(x, BF16_BITS)
    return nearest(x.exp(), BF16_BITS)


def _repeated(a, b, exact):
    """Operands of a product whose K is a multiple of 32, of few results in several orders of K."""
    padding = -a.shape[-1] % 32
    a = torch.nn.functional.pad(a, (0, padding))
    b = torch.nn.functional.pad(b, (0, 0, 0, padding))
    orders = _orders(a.shape[-1], exact.numel())
    return (
        torch.stack([a[..., order] for order in orders]),
        torch.stack([b[..., order, :] for order in orders]),
        torch.stack([exact] * len(orders)),
    )


def _repeated_rows(x, weight, exact):
    """Rows whose sums decide the error, of few rows in several orders of the columns."""
    orders = _orders(x.shape[-1], x.numel() // x.shape[-1])
    return (
        torch.stack([x[..., order] for order in orders]),
        torch.stack([weight[order].expand(x.shape) for order in orders]),
        torch.stack([exact[..., order] for order in orders]),
    )


def _orders(length, count):
    """Permutations of `length` terms, the first the given one; one if `count` results are many."""
    generator = torch.Generator().manual_seed(0)
    orders = [torch.arange(length)]
    while len(orders) * count < LEAST_RESULTS and len(orders) < MOST_ORDERS:
        orders.append(torch.randperm(length, generator=generator))
    return orders
