"""Configuration and steps that attention over a prompt and over a cache have in common.

B batch, K kv heads, G heads that share one. Kernel sources: compute_common.hpp,
compute_streaming.hpp.
"""

from dataclasses import dataclass

import torch

from ttnn_emulator.arithmetic.compute import AttentionProgram, Compute
from ttnn_emulator.arithmetic.exact.matrix import eltwise_unit
from ttnn_emulator.arithmetic.exact.matrix.matrix_unit import matmul, prepare_weight, row_max
from ttnn_emulator.arithmetic.exact.vector.vector_exponential import (
    attention_correction_exp,
    attention_correction_exp_polynomial,
)
from ttnn_emulator.arithmetic.formats import TILE

# The compute config that TTNN 0.81.1 builds its programs with where the caller gives none.
ATTENTION = Compute("HiFi2", approximate=True)
SMALLEST_CHUNKS = AttentionProgram(q_chunk=TILE, k_chunk=TILE)


@dataclass(frozen=True)
class AttentionConfig:
    """How an attention kernel is built; the defaults are TTNN's without any configuration.

    Attributes:
        compute: compute kernel configuration.
        program: program configuration; its chunk sizes are not 0.
    """

    compute: Compute = ATTENTION
    program: AttentionProgram = SMALLEST_CHUNKS


def product(
    rows: torch.Tensor, right: torch.Tensor, config: AttentionConfig, out: str
) -> torch.Tensor:
    """[B*K, G, R, X] @ [B*K, X, Y] -> [B*K, G, R, Y], packed as `out`."""
    count, group, height, depth = rows.shape
    flat = rows.reshape(count, group * height, depth)
    weight = prepare_weight(right) if right.dtype == torch.bfloat16 else right
    return matmul(flat, weight, compute=config.compute, out=out).reshape(count, group, height, -1)


def larger(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """The larger of two maxima [..., 1], in the order of `row_max`."""
    return row_max(torch.cat((first, second), -1))


def correction(
    old: torch.Tensor, new: torch.Tensor, scale: float, config: AttentionConfig
) -> torch.Tensor:
    """exp((old - new) * scale) in Dst: rescales sums made under the maximum `old` to `new`."""
    fp32_dest_acc = config.compute.fp32_dest_acc
    run = attention_correction_exp
    if not config.program.exp_approximate:
        run = attention_correction_exp_polynomial
    difference = eltwise_unit.subtract(old, new, fp32_dest_acc=fp32_dest_acc)
    return run(difference, scale, fp32_dest_acc=fp32_dest_acc)
