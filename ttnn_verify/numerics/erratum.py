"""An erratum of Wormhole's matrix unit: a 32-bit sum that is off by a negative power of two.

A partial sum of exactly -1 unit, 2^-23 of its greatest term, is normalised wrongly and becomes
-2^n, up to 16 times that term (tt-metal issue 38306). The terms that follow are added to it, so the
result is off by -2^n. One sum in a few million, of normal values, is hit. Neither a model nor its
call can avoid it, so a comparison leaves such an element out, and says so. An element with any
other error is judged like the rest, and so are all of them if there are too many.
"""

import torch

from ttnn_verify.numerics import metrics
from ttnn_verify.numerics.floors import Floor

# An element is an outlier beyond this many times the floor: rounding errors end at about five
# standard deviations, and what lies between may be judged with the rest. November 2026.
OUTLIER = 16

# Share of the elements that may be left out, and always one: ten times and more the rate at which
# normal values meet the erratum. November 2026.
RATE = 1e-5


def mask_erratum(
    expected: torch.Tensor, actual: torch.Tensor, floor: Floor
) -> tuple[torch.Tensor, list[tuple[int, ...]]]:
    """`actual` with the elements that the erratum has hit replaced by those of `expected`.

    One in 200 outliers with another cause is taken for the erratum: half are negative, and 1 % lie
    within bfloat16's rounding of a power of two.

    Args:
        expected: any shape, the reference.
        actual: the same shape, bfloat16 values.
        floor: the noise floor; without its `erratum` flag nothing is replaced.

    Returns:
        (tensor, indices of the replaced elements).
    """
    if not floor.erratum or expected.shape != actual.shape:
        return actual, []
    x, y = expected.double(), actual.double()
    error, size = y - x, floor.relative_l2 * x.square().mean().sqrt()
    power = torch.exp2((-error).clamp(min=1e-300).log2().round())
    near_power = (error + power).abs() <= metrics.unit(actual, "bfloat16") + 4 * size
    hit = (error < -OUTLIER * size) & near_power
    count = int(hit.sum())
    if not count or count > max(1, RATE * x.numel()):
        return actual, []
    indices = [tuple(map(int, index)) for index in hit.nonzero()]
    return torch.where(hit, expected.to(actual.dtype), actual), indices
