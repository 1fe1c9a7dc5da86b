"""An erratum of Wormhole's matrix unit: a 32-bit sum that is off by a negative power of two.

A partial sum of exactly -1 unit, 2^-23 of its greatest term, is normalised to the left by too little
and becomes -2^n, up to 16 times that term (tt-metal issue 38306). What follows is added to it, so the
result is off by -2^n. Of the sums of normal values one in some millions meets it. That is no fault of
a model or of its call, and nobody can mend it; so a comparison is made without such an element, and
says so. What is off by another value, or more often than this, is judged like any other error.
"""

import torch

from ttnn_verify.numerics import metrics

OUTLIER = 16  # times the floor: what is nearer may be judged with the rest
RATE = 1e-5  # of the elements, of which at least one is spared


def spared(expected, actual, floor):
    """`actual` with the elements struck by the erratum as in `expected`, and where they are.

    An outlier of another cause is taken for one in 200 cases: half are negative, and 1 % lie within
    bfloat16's rounding of a power of two.

    Args:
        expected: any shape, the reference.
        actual: the same shape, bfloat16 values.
        floor: a `floor.Floor`; without its `erratum` nothing is spared.

    Returns:
        (tensor, list of indices).
    """
    if not floor.erratum or expected.shape != actual.shape:
        return actual, []
    x, y = expected.double(), actual.double()
    off, size = y - x, floor.relative_l2 * x.square().mean().sqrt()
    power = torch.exp2((-off).clamp(min=1e-300).log2().round())
    near = (off + power).abs() <= metrics.unit(actual, "bfloat16") + 4 * size
    struck = (off < -OUTLIER * size) & near
    count = int(struck.sum())
    if not count or count > max(1, RATE * x.numel()):
        return actual, []
    places = [tuple(map(int, place)) for place in struck.nonzero()]
    return torch.where(struck, expected.to(actual.dtype), actual), places
