"""Common to the tests of attention: operands, exact attention, configurations, limits."""

import torch

from ttnn_emulator.arithmetic.compute import AttentionProgram, Compute
from ttnn_emulator.arithmetic.exact.attention_steps import ATTENTION, AttentionConfig

# Limits of the relative L2 distance to exact attention, by configuration. The approximate
# exponential is off by 1.8 % rms in each weight (ckernel_sfpu_exp.h); without it the 8 bits of a
# 16-bit Dst remain, without these the bfloat16 of the result and the sums. Measured at most
# 0.0252, and 0.0053 with a 32-bit Dst, 29 November 2026; a decode step's cases have fewer rows.
APPROXIMATE_EXP = 0.035
BF16_DST = 0.02
FP32_DST = 0.01


FP32 = Compute("HiFi4", fp32_dest_acc=True)


def operands(*, seed=0, batch=1, heads=4, kv_heads=2, queries=96, keys=96, width=64):
    generator = torch.Generator().manual_seed(seed)

    def values(*shape):
        return torch.randn(*shape, generator=generator).bfloat16().float()

    return (
        values(batch, heads, queries, width),
        values(batch, kv_heads, keys, width),
        values(batch, kv_heads, keys, width),
    )


def exact(query, key, value, **options):
    return torch.nn.functional.scaled_dot_product_attention(
        query.double(), key.double(), value.double(), enable_gqa=True, **options
    ).float()


def distance(actual, expected):
    return ((actual - expected).norm() / expected.norm()).item()


def config_of(compute=ATTENTION, q_chunk=32, k_chunk=32, exp_approximate=True):
    return AttentionConfig(compute, AttentionProgram(q_chunk, k_chunk, exp_approximate))
