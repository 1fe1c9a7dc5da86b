"""What attention over a prompt and over a cache share: their configuration and common steps.

B batch, K kv heads, G heads that share one.  Kernel sources: compute_common.hpp,
compute_streaming.hpp.
"""

from dataclasses import dataclass

import torch

from ttnn_emulator.arithmetic.exact.matrix import eltwise_unit
from ttnn_emulator.arithmetic.exact.matrix.matrix_unit import matmul, prepare_weight, row_max
from ttnn_emulator.arithmetic.exact.vector.vector_exponential import (
    attention_correction_exp,
    attention_correction_exp_polynomial,
)


@dataclass(frozen=True)
class Config:
    """How an attention kernel is built; the defaults are TTNN's without any config.

    Attributes:
        fidelity, approximate, fp32_dest: compute kernel config (math_fidelity, math_approx_mode,
            fp32_dest_acc_en).
        exp_approximate: the program config's exp_approx_mode.
        q_chunk, k_chunk: the program config's chunk sizes, multiples of 32.
    """

    fidelity: str = "HiFi2"
    approximate: bool = True
    fp32_dest: bool = False
    exp_approximate: bool = True
    q_chunk: int = 32
    k_chunk: int = 32


def product(rows, right, config, out):
    """[B*K, G, R, X] @ [B*K, X, Y] -> [B*K, G, R, Y]."""
    count, group, height, depth = rows.shape
    if right.dtype == torch.bfloat16:
        right = prepare_weight(right)
    dst = matmul(
        rows.reshape(count, group * height, depth),
        right,
        fidelity=config.fidelity,
        fp32_dest_acc=config.fp32_dest,
        out=out,
    )
    return dst.reshape(count, group, height, -1)


def larger(first, second):
    """The larger of two maxima, in the order of `row_max`."""
    return row_max(torch.cat((first, second), -1))


def correction(old, new, scale, config):
    """Factor for what was summed under the maximum `old`, in Dst."""
    run = attention_correction_exp
    if not config.exp_approximate:
        run = attention_correction_exp_polynomial
    difference = eltwise_unit.subtract(old, new, wide=config.fp32_dest)
    return run(difference, scale, fp32_dest=config.fp32_dest)
