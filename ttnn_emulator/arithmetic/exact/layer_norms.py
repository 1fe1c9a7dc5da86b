"""layer_norm step by step, with the format of every intermediate buffer.

Tensors are float32 or bfloat16 and hold what lies in the device's buffers: S rows, W columns, as
padded on the device.  Results are float32, rounded as the packer rounds them to the format `out`.
For interleaved tensors TTNN 0.81.1 takes the kernels of two passes, layernorm.cpp and, for rows that
do not fit in L1, layernorm_large_tensor.cpp; Welford's have to be asked for by a program config.
With a 32-bit Dst every intermediate buffer is float32, which the matrix unit reads as tf32; else
all of them are bfloat16.
"""

import math

import torch

from ttnn_emulator.arithmetic import paths
from ttnn_emulator.arithmetic.exact.matrix import eltwise_unit
from ttnn_emulator.arithmetic.exact.matrix.matrix_unit import row_sum, unpack
from ttnn_emulator.arithmetic.exact.packer import pack, truncate_to_bfloat16
from ttnn_emulator.arithmetic.exact.vector.vector_binary import multiply_by_scalar
from ttnn_emulator.arithmetic.exact.vector.vector_functions import square
from ttnn_emulator.arithmetic.exact.vector.vector_roots import rsqrt

TILE = 32

# Widest row, in tiles, that layernorm.cpp holds in L1, by (32-bit Dst, float32 input, how many of
# weight and bias there are, residual): to four tiles, observed in the programs that TTNN 0.81.1
# builds on an n150.
LAST_WIDTH_IN_L1 = {
    (True, False, 0, False): 120,
    (True, False, 1, False): 96,
    (True, False, 2, False): 84,
    (True, False, 0, True): 96,
    (True, False, 1, True): 80,
    (True, False, 2, True): 72,
    (True, True, 0, False): 100,
    (True, True, 1, False): 80,
    (True, True, 2, False): 72,
    (True, True, 0, True): 92,
    (True, True, 1, True): 76,
    (True, True, 2, True): 68,
    (False, False, 0, False): 200,
    (False, False, 1, False): 144,
    (False, False, 2, False): 112,
    (False, False, 0, True): 192,
    (False, False, 1, True): 136,
    (False, False, 2, True): 112,
    (False, True, 0, False): 144,
    (False, True, 1, False): 112,
    (False, True, 2, False): 96,
    (False, True, 0, True): 176,
    (False, True, 1, True): 128,
    (False, True, 2, True): 96,
}


def layer_norm(
    x,
    weight=None,
    bias=None,
    *,
    epsilon,
    width=None,
    residual=None,
    fidelity="HiFi4",
    approximate=False,
    fp32_dest=True,
    dtype="bfloat16",
    out="bfloat16",
):
    """(x - mean) / sqrt(variance + epsilon) * weight + bias over the last dimension.

    Args:
        x: [..., S, W].
        weight, bias: [W] or broadcastable to x; None leaves the step out.
        epsilon: added to the variance; the kernel cuts it to bfloat16.
        width: columns that are not padding; None means all W.  Padding takes no part in the mean or
            the variance, but is normalised with the rest.
        residual: added to x first, [..., S, W]; or None.
        fidelity, approximate, fp32_dest: compute kernel config (math_fidelity, math_approx_mode,
            fp32_dest_acc_en); the defaults are those of `ttnn.layer_norm` without one.
        dtype: format of x, which decides how long a row fits in L1.
        out: format of the result, as `packer.pack` names it.

    Returns:
        [..., S, W] float32.
    """
    wide = fp32_dest
    width = x.shape[-1] if width is None else width
    x = unpack(x, wide)
    residual = None if residual is None else unpack(residual, wide)
    parameters = (weight is not None) + (bias is not None)
    fits = _fits_in_l1(x.shape[-1], wide, dtype == "float32", parameters, residual is not None)
    if fits:
        if residual is not None:
            x = unpack(eltwise_unit.add(x, residual, wide=wide), wide)
        mean = _mean([x], width, fidelity, wide)
        centred = eltwise_unit.subtract(x, unpack(mean, wide), wide=wide)
        operand = unpack(centred, wide)
        squares = eltwise_unit.multiply(operand, operand, fidelity=fidelity, wide=wide)
    else:
        paths.tell(paths.BEYOND_L1)
        mean = _mean([x] if residual is None else [x, residual], width, fidelity, wide)
        centred = eltwise_unit.subtract(x, unpack(mean, wide), wide=wide)
        if residual is not None:  # x - mean goes from Dst to SrcB
            centred = eltwise_unit.add(residual, unpack(centred, wide), wide=wide)
        squares = square(centred, fp32_dest=wide)
    variance = _mean([unpack(squares, wide)], width, fidelity, wide)
    epsilon = truncate_to_bfloat16(torch.tensor(float(epsilon)))
    shifted = eltwise_unit.add(unpack(variance, wide), epsilon, wide=wide)
    factor = rsqrt(shifted, approximate=approximate, fp32_dest=wide)
    y = unpack(centred, wide)
    y = eltwise_unit.multiply(y, unpack(factor, wide), fidelity=fidelity, wide=wide)
    if weight is not None:
        weight = unpack(weight, wide)
        y = eltwise_unit.multiply(unpack(y, wide), weight, fidelity=fidelity, wide=wide)
    if bias is not None:
        y = eltwise_unit.add(unpack(y, wide), unpack(bias, wide), wide=wide)
    return pack(y, out, wide)


def _mean(terms, width, fidelity, wide):
    """Mean of the sum of terms, each [..., W], in one accumulation, over the columns below width.

    Other columns meet a scaler of 0, and 0 times anything is 0 in the matrix unit (numeric.h).
    """
    rows = [torch.nn.functional.pad(term[..., :width], (0, -width % TILE)) for term in terms]
    total = row_sum(torch.cat(rows, -1), fidelity=fidelity, fp32_dest_acc=wide)
    reciprocal = (torch.tensor(1.0) / width).item()
    return multiply_by_scalar(total, reciprocal, fp32_dest=wide)


def _fits_in_l1(width, wide, float32, parameters, has_residual):
    last = LAST_WIDTH_IN_L1[wide, float32, parameters, has_residual]
    return math.ceil(width / TILE) <= last
