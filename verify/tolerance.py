"""Every threshold, in one place, with its reason.

The unit is the rounding to bfloat16, the format of weights, activations and caches. A rounding
errs by at most `BF16_ROUNDING` of the value and by 0.42 of that in the root mean square (uniform
within half a unit in the last place, mantissas uniform in the logarithm). Independent errors add
as squares, so n roundings in a row are expected at 0.42 * sqrt(n) * `BF16_ROUNDING`: a bound
without the 0.42 leaves a factor of 2.4 for errors that a step enlarges, and none for a wrong value.
"""

import math

# bfloat16 keeps 8 significant bits: the nearest one is at most 2^-8 of the value away.
BF16_ROUNDING = 2.0**-8

# Sums of products are kept in float32 or better by the reference and by rounded arithmetic.
FP32_ROUNDING = 2.0**-24

# TTNN's attention takes e^x by a line through the exponent's bits unless told otherwise; the weights
# of the sum are off by -3.4 % to +3.1 % (ckernel_sfpu_exp.h, every bf16 score), 1.8 % in the root
# mean square. Like a rounding it is bounded by its greatest error.
APPROXIMATE_EXP = 0.034

# Values rounded to bf16 one after the other on the way through a part of Phi-3 (see `model/`).
# Branches that meet in a residual add count along the longer one.
ROUNDINGS_RMS_NORM = 1
ROUNDINGS_MLP = 4  # gate_up, activation, product, down
ROUNDINGS_ATTENTION = 7  # qkv, rotary's two products and sum, scores, weighted sum, o_proj
ROUNDINGS_DECODER_LAYER = 2 * ROUNDINGS_RMS_NORM + ROUNDINGS_MLP + ROUNDINGS_ATTENTION + 2
ROUNDINGS_HEAD = ROUNDINGS_RMS_NORM + 1  # final norm, lm_head

# Agreement with Hugging Face over 100 teacher-forced tokens, as shares: what the functional
# bring-up of Phi-3-mini-128k-instruct reached on an n150 with the published weights.
TOP1_AGREEMENT = 0.90
TOP5_AGREEMENT = 0.99


def bf16_relative_l2(n_roundings):
    """Largest relative L2 error of a tensor after `n_roundings` to bf16, one after the other."""
    return BF16_ROUNDING * math.sqrt(n_roundings)


def bf16_sum_absolute(length, magnitude):
    """Largest absolute error of a sum of `length` products, kept in float32, rounded once to bf16.

    Args:
        length: number of products, K of a matmul.
        magnitude: sum of the products' absolute values; a tensor or a number.
    """
    return magnitude * (BF16_ROUNDING + length * FP32_ROUNDING)


def near_tie(logits, relative_l2):
    """Largest margin between two of the reference's logits [V] that an allowed error can turn.

    Each logit errs by `relative_l2` of their root mean square, one standard deviation; the difference
    of two by sqrt(2) of that, and by four times as much once in 16,000 steps.
    """
    return 4 * math.sqrt(2) * relative_l2 * float(logits.square().mean().sqrt())


def attention_relative_l2(n_roundings):
    """Largest relative L2 error of attention with TTNN's default exponential, and roundings."""
    return math.hypot(bf16_relative_l2(n_roundings), APPROXIMATE_EXP)


def pcc_floor(relative_l2):
    """Smallest PCC of a tensor of zero mean whose error is `relative_l2` of its size.

    The angle between x and x + e is widest when e stands upright on x + e: its cosine is then
    sqrt(1 - (|e| / |x|)^2).
    """
    if not 0 <= relative_l2 < 1:
        raise ValueError(
            f"relative_l2 {relative_l2}: only an error smaller than the tensor has one."
        )
    return math.sqrt(1 - relative_l2**2)


def logits_relative_l2(n_layers):
    """Largest relative L2 error of a bf16 Phi-3's logits with `n_layers` decoder layers."""
    return bf16_relative_l2(n_layers * ROUNDINGS_DECODER_LAYER + ROUNDINGS_HEAD)
