"""rms_norm and softmax step by step, with the format of every intermediate buffer.

Tensors are float32 or bfloat16 and hold what lies in the device's buffers: S rows, W columns, as
padded on the device.  Results are float32, rounded as the packer rounds them to the format `out`.
Kernel sources: layernorm.cpp, layernorm_large_tensor.cpp, numeric.h, softmax.cpp.  Formats of the
circular buffers are those that TTNN 0.81.1's program factories ask for.
"""

import math

import torch

from . import eltwise_unit
from .matrix_unit import row_max, row_sum, unpack
from .packer import pack, truncate_to_bfloat16
from .vector_binary import multiply_by_scalar
from .vector_exponential import softmax_exp
from .vector_functions import square
from .vector_roots import rsqrt, softmax_reciprocal

TILE = 32

# Widest row, in tiles, that layernorm.cpp holds in L1; wider ones are left to
# layernorm_large_tensor.cpp.  By (32-bit Dst, weight, residual), observed in the programs that TTNN
# 0.81.1 builds for bfloat16 tensors on an n150.
LAST_WIDTH_IN_L1 = {
    (False, False, False): 304,
    (False, False, True): 288,
    (False, True, False): 200,
    (False, True, True): 184,
    (True, False, False): 204,
    (True, False, True): 148,
    (True, True, False): 148,
    (True, True, True): 116,
}


def rms_norm(
    x,
    weight=None,
    bias=None,
    *,
    epsilon,
    width=None,
    residual=None,
    fidelity="HiFi4",
    approximate=True,
    fp32_dest=False,
    out="bfloat16",
):
    """x / sqrt(mean(x**2) + epsilon) * weight + bias over the last dimension.

    Args:
        x: [..., S, W].
        weight, bias: [W] or broadcastable to x; None leaves the step out.
        epsilon: added to the mean of squares; the kernel cuts it to bfloat16.
        width: columns that are not padding; None means all W.  Padding takes no part in the mean.
        residual: added to x first, [..., S, W]; or None.
        fidelity, approximate, fp32_dest: compute kernel config (math_fidelity, math_approx_mode,
            fp32_dest_acc_en); the defaults are those of `ttnn.rms_norm` without one.
        out: format of the result, as `packer.pack` names it.

    Returns:
        [..., S, W] float32.
    """
    wide = fp32_dest
    width = x.shape[-1] if width is None else width
    x = unpack(x, wide)
    if residual is not None:
        x = unpack(eltwise_unit.add(x, unpack(residual, wide), wide=wide), wide)
    if _fits_in_l1(x.shape[-1], wide, weight is not None, residual is not None):
        squares = eltwise_unit.multiply(x, x, fidelity=fidelity, wide=wide)
    else:
        squares = square(x, fp32_dest=wide)
    squares[..., width:] = 0  # the last scaler tile is 0 there, and so is 0 times anything
    total = row_sum(squares, fidelity=fidelity, fp32_dest_acc=wide)
    reciprocal_width = (torch.tensor(1.0) / width).item()
    mean = multiply_by_scalar(total, reciprocal_width, fp32_dest=wide)
    epsilon = truncate_to_bfloat16(torch.tensor(float(epsilon)))
    shifted = eltwise_unit.add(unpack(mean, wide), epsilon, wide=wide)
    factor = rsqrt(shifted, approximate=approximate, fp32_dest=wide)
    y = eltwise_unit.multiply(x, unpack(factor, wide), fidelity=fidelity, wide=wide)
    if weight is not None:
        weight = unpack(weight, wide)
        y = eltwise_unit.multiply(unpack(y, wide), weight, fidelity=fidelity, wide=wide)
    if bias is not None:
        y = eltwise_unit.add(unpack(y, wide), unpack(bias, wide), wide=wide)
    return pack(y, out, wide)


def _fits_in_l1(width, wide, has_weight, has_residual):
    return math.ceil(width / TILE) <= LAST_WIDTH_IN_L1[wide, has_weight, has_residual]


def softmax(
    x,
    *,
    width=None,
    stable=True,
    fidelity="HiFi3",
    approximate=True,
    fp32_dest=True,
    wide_exponentials=False,
    out="bfloat16",
):
    """exp(x - max) / sum(exp(x - max)) over the last dimension.

    Minus infinity is added to the columns from `width` on, so they count for nothing unless they
    hold plus infinity: the two cancel, and the column counts as a 0 of the row.

    Args:
        x: [..., S, W], W a multiple of 32 if there is padding.
        width: columns that are not padding; None means all W.
        stable: whether the row's maximum is subtracted first (`numeric_stable`).
        fidelity, approximate, fp32_dest: compute kernel config (math_fidelity, math_approx_mode,
            fp32_dest_acc_en); the defaults are those of `ttnn.softmax` of a bfloat16 or bfloat8_b
            tensor without one.  Of a float32 tensor, `approximate` is off.
        wide_exponentials: whether exponentials are kept in float32 rather than bfloat16.  So it is
            for a float32 tensor, and for a given compute kernel config with a 32-bit Dst.
        out: format of the result, as `packer.pack` names it.

    Returns:
        [..., S, W] float32.  Rows that do not fit in L1 (8768 columns of bfloat16 do) have a kernel
        of their own, softmax_large_tensor.cpp, whose rounding this does not follow.
    """
    wide = fp32_dest
    x = unpack(x, wide)
    if width is not None and width < x.shape[-1]:
        x = _mask_padding(x, width, wide)
    if stable:
        x = eltwise_unit.subtract(x, row_max(x), wide=wide)
    exponentials = softmax_exp(x, approximate=approximate, fp32_dest=wide)
    if not wide_exponentials:
        exponentials = pack(exponentials, "bfloat16", wide)
    exponentials = unpack(exponentials, wide)
    total = row_sum(exponentials, fidelity=fidelity, fp32_dest_acc=wide)
    inverse = softmax_reciprocal(total, approximate=approximate, fp32_dest=wide)
    y = eltwise_unit.multiply(exponentials, unpack(inverse, wide), fidelity=fidelity, wide=wide)
    return pack(y, out, wide)


def _mask_padding(x, width, wide):
    """x with the last tile's padding masked by the matrix unit."""
    first = width // TILE * TILE
    mask = torch.zeros(x.shape[-1] - first)
    mask[width - first :] = -math.inf
    masked = eltwise_unit.add(x[..., first:], mask, wide=wide)
    return torch.cat((x[..., :first], unpack(masked, wide)), -1)
