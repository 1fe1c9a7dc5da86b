"""By how much a call changes what its operands' roundings leave of an error: measured.

Scores of some tens, say, make a softmax of them err by as many times their own relative error.
"""

import dataclasses

import torch

from ttnn_verify.drift.judgement.expecting import expected_results
from ttnn_verify.drift.mesh.spread import ONE_CHIP
from ttnn_verify.drift.observation.given import with_each
from ttnn_verify.drift.observed import Observed
from ttnn_verify.numerics import metrics
from ttnn_verify.numerics.floors import EXACT, Floor, larger

LEAST = 1e-6  # relative L2 error of operands below which nothing is to be amplified


def of_noise(observed: Observed, output: int, noise: float, accurate: bool) -> Floor:
    """How far off a result is where the operands err by `noise`, element by element and at random.

    Args:
        output: the result's number. On a mesh it is as far off as on the chip where it is most.
        noise: relative L2 error of each operand that calls of the model have computed.
    """
    if noise < LEAST:
        return EXACT
    if observed.chip is None and observed.mesh != ONE_CHIP:
        chips = [observed.on(alike[0]) for alike in observed.alike]
        return larger(*(of_noise(one, output, noise, accurate) for one in chips))
    exact = expected_results(observed, accurate)[output]
    other = expected_results(_noisy(observed, noise), accurate)[output]
    expected, actual = exact.value.double(), other.value.double()
    known = (expected.isfinite() & actual.isfinite()).all(-1) if expected.dim() else None
    if known is not None:
        expected, actual = expected[known], actual[known]
    if not expected.any():
        return EXACT
    worst = metrics.worst_row(expected, actual).value
    return Floor(metrics.relative_l2(expected, actual), worst)


def _noisy(observed: Observed, noise: float) -> Observed:
    """The call with noise on what calls of the model have computed."""
    operands = observed.operands
    tensors = [one for one in operands.tensors if one.origin is not None]
    computed = {id(values) for one in tensors for values in (one.values, *one.parts)}
    generator = torch.Generator().manual_seed(0)

    def changed(values: torch.Tensor) -> torch.Tensor:
        floats = values.is_floating_point() and id(values) in computed
        if not floats:
            return values
        uniform = torch.rand(values.shape, generator=generator) * 2 - 1
        return values * (1 + noise * 3**0.5 * uniform)

    args, kwargs = with_each((operands.args, operands.kwargs), torch.Tensor, changed)
    return dataclasses.replace(
        observed, operands=dataclasses.replace(operands, args=args, kwargs=kwargs)
    )
