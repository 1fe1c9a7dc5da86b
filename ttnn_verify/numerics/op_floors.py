"""The noise floors of single operations: the error that their number formats force.

Each function takes the inputs of an operation, computes it in float64 and once more with only the
roundings that its formats and compute config force, and returns the distance between the two as a
`Floor`. It states what is documented about the arithmetic (`ttnn_verify.numerics.rounding`), in as
few steps as explain a kernel's error, and shares nothing with any emulation of the kernels. Inputs
are values of their formats: what was lost in converting to them is not an error of the operation.
"""

import dataclasses
import math

import torch

from ttnn_verify.numerics import metrics
from ttnn_verify.numerics.compute_config import ComputeConfig, of_steps
from ttnn_verify.numerics.destination import add_up, as_read, exponentials, packed, stored
from ttnn_verify.numerics.floors import (
    EXACT,
    Floor,
    between,
    chain,
    of_errors,
    orders,
    output,
    shifted,
)
from ttnn_verify.numerics.formats import BLOCK_BITS, TILE
from ttnn_verify.numerics.kernel_floors.attention_floors import attention
from ttnn_verify.numerics.kernel_floors.norm_floors import layer_norm, rms_norm, rounded_rms_norm
from ttnn_verify.numerics.kernel_floors.vector_floors import (
    PARABOLA,
    VECTOR_RELATIVE,
    bessel_errors,
    gamma_errors,
    vector,
)
from ttnn_verify.numerics.rounding import (
    BF16_BITS,
    TF32_BITS,
    add,
    blocks,
    cut,
    dot,
    group_alignment,
    multiply,
    nearest,
    phases,
    row_sum,
)

# Floors and how they combine are part of this module's interface: a caller needs one import.
__all__ = [
    "EXACT",
    "PARABOLA",
    "VECTOR_RELATIVE",
    "ComputeConfig",
    "Floor",
    "attention",
    "bessel_errors",
    "between",
    "block_float",
    "chain",
    "default_k_block",
    "gamma_errors",
    "layer_norm",
    "matmul",
    "of_errors",
    "output",
    "reduce",
    "rms_norm",
    "rotary",
    "rounded_rms_norm",
    "shifted",
    "softmax",
    "typecast",
    "vector",
]

# A product's floor is measured on at most this many of its columns, evenly spread.
MOST_COLUMNS = 4096


def block_float(x: torch.Tensor, dtype: str) -> Floor:
    """The host's conversion of values to "bfloat8_b" or "bfloat4_b", before it or after.

    Its error is uniform within half a step of the block, and values that have been converted show
    no error when they are converted again. Rows that are not finite are left out.
    """
    x = x.double().reshape(-1, x.shape[-1])
    x = x[x.isfinite().all(-1)]
    if not x.any():
        return EXACT
    error, size = (one.norm(dim=-1) for one in (metrics.unit(x, dtype) / math.sqrt(12), x))
    return Floor(float(error.norm() / size.norm()), float((error / size)[size > 0].max()))


def typecast(x: torch.Tensor, dtype: str) -> Floor:
    """The device's conversion of values to another format."""
    return output(x, dtype)


def matmul(
    a: torch.Tensor,
    b: torch.Tensor,
    *,
    compute: ComputeConfig | None = None,
    k_block: int | None = None,
    weight_dtype: str = "bfloat16",
    out: str = "bfloat16",
    bias: torch.Tensor | None = None,
) -> Floor:
    """A matrix product, a `[..., M, K]` by b `[..., K, N]` (plus bias `[N]`).

    Args:
        a, b: operands. b is rounded to `weight_dtype` here, so the floor is measured against the
            product with the weights as given.
        compute: None for TTNN's own.
        k_block: tiles of K that are summed at a time (in0_block_w); None for TTNN's own choice.
        weight_dtype: "bfloat16", "float32", "bfloat8_b" or "bfloat4_b".
        out: the format of the result.
    """
    compute = compute or ComputeConfig()
    if k_block is None:
        k_block = default_k_block(a.shape[-2], a.shape[-1], b.shape[-1])
    sample = slice(None, None, -(-b.shape[-1] // MOST_COLUMNS))
    b, bias = b[..., sample], None if bias is None else bias[..., sample].float()
    exact = a.double() @ b.double() + (0 if bias is None else bias.double())
    a, b = a.float(), blocks(b, weight_dtype) if weight_dtype in BLOCK_BITS else b.float()
    if compute.fp32_dest_acc:
        result = add_up(
            first.double() @ second.double() for first, second in phases(a, b, compute.fidelity)
        )
        if bias is not None:  # the sum is read back as a TF32
            result = cut(result.float(), TF32_BITS) + bias
        aligned = of_errors(exact, group_alignment(a, b))
        floor = chain(between(exact, result), aligned, output(exact, out))
        return dataclasses.replace(floor, erratum=True)
    count = max(int(exact.count_nonzero()), 1)  # of keys that no cache holds yet nothing is made
    a, b, exact = _repeated(a, b, exact, count)
    result = dot(a, b, compute.fidelity, k_block, compute.packer_l1_acc)
    if bias is not None:
        result = add(result, bias, fp32_dest_acc=False)
    return packed(exact, result, out, count=count)


def default_k_block(rows: int, depth: int, columns: int) -> int:
    """Tiles of K that TTNN sums at a time (in0_block_w) on 8 x 8 cores, with operands in DRAM.

    After matmul_program_config.cpp, without its limit by the size of L1: for large operands the
    true number may be smaller.
    """
    rows, depth, columns = (-(-size // TILE) for size in (rows, depth, columns))
    if max(rows, columns) > 8 * min(rows, columns) or min(rows, columns) == 1:
        return 2 if depth % 2 == 0 else 1
    return depth // 8 if depth % 8 == 0 else 1


def softmax(
    x: torch.Tensor,
    *,
    dim: int = -1,
    exp_approximate: bool | None = None,
    fidelity: str = "HiFi3",
    fp32_dest_acc: bool = True,
    out: str = "bfloat16",
) -> Floor:
    """Softmax over a dimension (softmax.cpp), x of any shape.

    Args:
        exp_approximate: whether the exponential is the approximate one (math_approx_mode); None for
            TTNN's default, which is approximate unless the tensors are float32.
        fidelity, fp32_dest_acc: of the compute config.
    """
    if exp_approximate is None:
        exp_approximate = out != "float32"
    x = x.float().movedim(dim, -1)
    exact = torch.softmax(x.double(), -1)
    shifted = add(x, -x.amax(-1, keepdim=True), fp32_dest_acc)
    weights = exponentials(shifted, exp_approximate, fp32_dest_acc)
    total = row_sum(weights, fidelity, fp32_dest_acc)
    inverse = as_read(stored(1 / total, fp32_dest_acc), fp32_dest_acc)
    result = multiply(weights, inverse, fidelity, fp32_dest_acc)
    # all values of a row share the error of a sum of 16 bits
    rows = None if fp32_dest_acc else max(x[..., 0].numel(), 1)
    return packed(exact.movedim(-1, dim), result.movedim(-1, dim), out, fp32_dest_acc, rows)


def rotary(
    x: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    *,
    rotated: torch.Tensor | None = None,
    compute: ComputeConfig | None = None,
    out: str = "bfloat16",
) -> Floor:
    """Rotary embedding x * cos + rotated * sin, all `[..., S, D]` or broadcastable.

    Args:
        rotated: x with its halves exchanged and the first negated (Llama's rotate_half) by default.
        compute: None for TTNN's own config, in HiFi4.
    """
    fidelity, fp32_dest_acc = of_steps(compute)
    x, cos, sin = x.float(), cos.float(), sin.float()
    if rotated is None:
        rotated = torch.cat([-x[..., x.shape[-1] // 2 :], x[..., : x.shape[-1] // 2]], -1)
    exact = x.double() * cos.double() + rotated.double() * sin.double()
    first, second = (
        nearest(multiply(table, part, fidelity, fp32_dest_acc), BF16_BITS)
        for table, part in ((cos, x), (sin, rotated.float()))
    )
    return packed(exact, add(first, second, fp32_dest_acc), out, fp32_dest_acc)


def rotary_tables(exact: torch.Tensor) -> Floor:
    """What cos and sin that are rounded to bfloat16 add to a rotary embedding.

    All heads share the errors of a position's cos and sin, so that there are no more independent
    ones than columns.

    Args:
        exact: the result `[..., D]`; NaN where it is not known.
    """
    rows = metrics.rows(exact.double().nan_to_num())
    columns = rows.norm(dim=0, keepdim=True)  # [1, D]
    return Floor(output(columns).relative_l2, output(rows).worst_row)


def reduce(
    op: str, x: torch.Tensor, *, dim: int | tuple[int, ...] = -1, out: str = "bfloat16"
) -> Floor:
    """A reduction over `dim`: "sum", "mean", or "max" and "min", which are exact.

    Sums are kept in 32 bits. The factor of a mean is truncated to bfloat16 for the matrix unit; it
    is not used for float32 tensors, which the vector unit adds.

    Args:
        dim: a dimension or several.

    Raises:
        ValueError: another reduction.
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
        columns = add_up(torch.nn.functional.pad(rows, (0, -count % TILE)).split(TILE, -1))
        summed = add_up(columns.unbind(-1)).reshape(exact.shape)
        return chain(between(exact, summed), output(exact, out))
    error = group_alignment(rows.flatten(0, -2), torch.ones(count, 1)).reshape(exact.shape)
    divisor = 1.0 if op == "sum" else cut(torch.tensor(1 / count), BF16_BITS).item() * count
    return chain(between(exact, exact * divisor), of_errors(exact, error), output(exact, out))


def _repeated(
    a: torch.Tensor, b: torch.Tensor, exact: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Operands and exact product, stacked for several orders of K if `count` results are few.

    K is padded to a multiple of 32.
    """
    padding = -a.shape[-1] % TILE
    a = torch.nn.functional.pad(a, (0, padding))
    b = torch.nn.functional.pad(b, (0, 0, 0, padding))
    several = orders(a.shape[-1], count)
    b = b[(None,) * (a.dim() - b.dim())]  # before them comes the order, for both
    return (
        torch.stack([a[..., order] for order in several]),
        torch.stack([b[..., order, :] for order in several]),
        torch.stack([exact] * len(several)),
    )
