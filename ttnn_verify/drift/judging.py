"""The verdict of a result: in brief where one rounding explains it, in full where not."""

import torch

from ttnn_verify.drift import finding
from ttnn_verify.numerics import metrics, op_floors, tolerance


def judged(expected, actual, dtype, floor):
    """A `tolerance.Verdict`; of what one rounding explains in brief, since a walk has many of these.

    Args:
        floor: makes the noise floor, None for data that only moves.
    """
    if expected.shape == actual.shape:
        brief = _brief(expected, actual, dtype, floor)
        if brief is not None:
            return brief
    floor = op_floors.EXACT if floor is None else floor()
    return tolerance.judge(metrics.compare(expected, actual), floor)


def _brief(expected, actual, dtype, floor):
    """The verdict of equal values, or of values that are one rounding apart; None of others."""
    if torch.equal(expected.to(actual.dtype), actual):
        return tolerance.Verdict("ok", 0.0, 0.0, None, "equal", finding.Brief(0.0, 1.0))
    if floor is None:
        return None
    x, y = metrics.rows(expected), metrics.rows(actual)
    error, size, quick = (y - x).norm(dim=-1), x.norm(dim=-1), op_floors.output(x, dtype)
    whole = float(error.norm() / size.norm())
    allowed = [tolerance.K * one for one in (quick.relative_l2, quick.worst_row)]
    if not (whole <= allowed[0] and bool((error <= allowed[1] * size).all())):
        return None
    used = max(whole / allowed[0], float((error / size).nan_to_num(0).max()) / allowed[1])
    pcc = metrics.pcc(expected, actual)
    return tolerance.Verdict("ok", used, used * tolerance.K, None, "", finding.Brief(whole, pcc))
