"""layer_norm step by step, with the format of every intermediate buffer.

Tensors are float32 or bfloat16 and hold what lies in the device's buffers: S rows, W columns, as
padded on the device. Results are float32, rounded as the packer rounds them to the format `out`.
For interleaved tensors TTNN 0.81.1 takes the kernels of two passes: layernorm.cpp and, for rows
that do not fit in L1, layernorm_large_tensor.cpp. Welford's kernels run only where a program config
selects them. With a 32-bit Dst every intermediate buffer is float32, which the matrix unit reads as
tf32; otherwise all of them are bfloat16.
"""

from collections.abc import Sequence

import torch

from ttnn_emulator.arithmetic import paths
from ttnn_emulator.arithmetic.compute import BFLOAT16, Compute, Formats
from ttnn_emulator.arithmetic.exact.matrix import eltwise_unit
from ttnn_emulator.arithmetic.exact.matrix.matrix_unit import row_sum, unpack
from ttnn_emulator.arithmetic.exact.packer import pack, truncate_to_bfloat16
from ttnn_emulator.arithmetic.exact.vector.vector_binary import multiply_by_scalar
from ttnn_emulator.arithmetic.exact.vector.vector_functions import square
from ttnn_emulator.arithmetic.exact.vector.vector_roots import rsqrt
from ttnn_emulator.arithmetic.formats import TILE, ceil_div

# The compute config that TTNN 0.81.1 builds its programs with where the caller gives none.
LAYER_NORM = Compute("HiFi4", fp32_dest_acc=True)

# Widest row, in tiles, that layernorm.cpp holds in L1, by (32-bit Dst, float32 input, number of
# weight and bias operands, residual). Observed, to within four tiles, in the programs that TTNN
# 0.81.1 builds on an n150.
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
    x: torch.Tensor,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    residual: torch.Tensor | None = None,
    *,
    epsilon: float,
    width: int | None = None,
    compute: Compute | None = None,
    formats: Formats = BFLOAT16,
) -> torch.Tensor:
    """See `interface.Arithmetic`; the kernel cuts epsilon to bfloat16.

    Padding takes no part in the mean or the variance, but is normalised with the rest.
    """
    compute = compute or LAYER_NORM
    fidelity, fp32_dest_acc = compute.fidelity, compute.fp32_dest_acc
    width = x.shape[-1] if width is None else width
    x = unpack(x, fp32_dest_acc)
    residual = None if residual is None else unpack(residual, fp32_dest_acc)
    parameters = (weight is not None) + (bias is not None)
    last = LAST_WIDTH_IN_L1[
        fp32_dest_acc, formats.operand == "float32", parameters, residual is not None
    ]
    if ceil_div(x.shape[-1], TILE) <= last:
        if residual is not None:
            x = unpack(eltwise_unit.add(x, residual, fp32_dest_acc=fp32_dest_acc), fp32_dest_acc)
        mean = unpack(_mean([x], width, compute), fp32_dest_acc)
        centred = eltwise_unit.subtract(x, mean, fp32_dest_acc=fp32_dest_acc)
        operand = unpack(centred, fp32_dest_acc)
        squares = eltwise_unit.multiply(
            operand, operand, fidelity=fidelity, fp32_dest_acc=fp32_dest_acc
        )
    else:
        paths.tell(paths.BEYOND_L1)
        terms = [x] if residual is None else [x, residual]
        mean = unpack(_mean(terms, width, compute), fp32_dest_acc)
        centred = eltwise_unit.subtract(x, mean, fp32_dest_acc=fp32_dest_acc)
        if residual is not None:  # x - mean goes from Dst to SrcB
            centred = unpack(centred, fp32_dest_acc)
            centred = eltwise_unit.add(residual, centred, fp32_dest_acc=fp32_dest_acc)
        squares = square(centred, fp32_dest_acc=fp32_dest_acc)
    variance = unpack(_mean([unpack(squares, fp32_dest_acc)], width, compute), fp32_dest_acc)
    return normalized(
        centred, variance, weight, bias, epsilon=epsilon, compute=compute, formats=formats
    )


def normalized(
    centred: torch.Tensor,
    variance: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    *,
    epsilon: float,
    compute: Compute,
    formats: Formats,
) -> torch.Tensor:
    """centred / sqrt(variance + epsilon) * weight + bias, packed: float32 [..., S, W].

    Args:
        centred: [..., S, W], in Dst.
        variance: [..., S, 1], as the unpacker gives it.
        weight, bias: [..., W] contents; None leaves the step out.
    """
    fp32_dest_acc = compute.fp32_dest_acc
    addend = truncate_to_bfloat16(torch.tensor(float(epsilon)))
    shifted = eltwise_unit.add(variance, addend, fp32_dest_acc=fp32_dest_acc)
    factor = rsqrt(shifted, approximate=compute.approximate, fp32_dest_acc=fp32_dest_acc)
    y = product(centred, factor, compute)
    if weight is not None:
        y = product(y, weight, compute)
    if bias is not None:
        y = eltwise_unit.add(
            unpack(y, fp32_dest_acc), unpack(bias, fp32_dest_acc), fp32_dest_acc=fp32_dest_acc
        )
    return pack(y, formats.out, fp32_dest_acc)


def product(first: torch.Tensor, second: torch.Tensor, compute: Compute) -> torch.Tensor:
    """The product in Dst of two operands, each truncated by the unpacker."""
    return eltwise_unit.multiply(
        unpack(first, compute.fp32_dest_acc),
        unpack(second, compute.fp32_dest_acc),
        fidelity=compute.fidelity,
        fp32_dest_acc=compute.fp32_dest_acc,
    )


def _mean(terms: Sequence[torch.Tensor], width: int, compute: Compute) -> torch.Tensor:
    """Mean over the first `width` columns of the sum of terms [..., W], in one accumulation.

    The other columns have a scaler of 0, and 0 times anything is 0 in the matrix unit (numeric.h).
    """
    rows = [torch.nn.functional.pad(term[..., :width], (0, -width % TILE)) for term in terms]
    total = row_sum(torch.cat(rows, -1), compute)
    reciprocal = (torch.tensor(1.0) / width).item()
    return multiply_by_scalar(total, reciprocal, fp32_dest_acc=compute.fp32_dest_acc)
