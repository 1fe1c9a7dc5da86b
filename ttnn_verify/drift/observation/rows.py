"""Which rows of a tensor are which rows of a value."""

import torch

from ttnn_verify.drift.expected_values import ExpectedRows
from ttnn_verify.drift.observation.pool import SAME, shares

# Share of the cells that must be the value's: most.
MOST = 0.75
# Share of a row by which the distance to an equal one is off: a difference of float32 squares.
EQUAL = 4 * 2.0**-12
# Of places that are equally likely, this many are looked at.
MOST_PLACES = 64

# (rows of a tensor, rows of what is expected) that belong together
Places = tuple[torch.Tensor, torch.Tensor]


def are_part(places: Places, of: Places | None) -> bool:
    """Whether places are some of others."""
    if of is None:
        return False
    pairs, known = (set(zip(*(x.tolist() for x in one), strict=True)) for one in (places, of))
    return pairs <= known


def matched(actual: torch.Tensor, of_actual: torch.Tensor, expected: ExpectedRows) -> Places | None:
    """The rows of a tensor that match those expected; None if too few do.

    The rows that are new in this call of the model decide where they lie; all of them that the
    tensor has room for belong to them, and known ones before where it has them too.

    Args:
        actual: `[M, W]`.
        of_actual: its signatures `[M, 16]`.
    """
    of_golden = expected.signatures
    free = torch.ones(len(of_actual), dtype=torch.bool)  # each row is one sequence's
    runs = []
    for first, last, new in expected.runs():
        place = _place(of_actual, of_golden[first:last], new, free)
        if place is None:
            continue
        start, offset = place
        run = torch.arange(start, min(last - first, len(of_actual) - offset))
        if shares(actual[run + offset], expected.flat[run + first]) < MOST:
            continue
        free[run + offset] = False
        runs.append((first, offset, start, run, of_golden[first:last], start == new))
    rows, positions = [], []
    for first, offset, start, run, golden, follows in runs:
        known = _known_before(of_actual, golden[:start], free, offset) if follows else 0
        whole = torch.cat((torch.arange(start - known, start), run))
        positions.append(whole + first)
        rows.append(whole + offset)
    return (torch.cat(rows), torch.cat(positions)) if rows else None


def _place(
    actual: torch.Tensor, golden: torch.Tensor, new: int, free: torch.Tensor
) -> tuple[int, int] | None:
    """Where the new rows of a sequence lie: (the first that does, how much further down); or None.

    Equal rows, of a token that is repeated say, lie where most of the rows about them do.

    Args:
        actual, golden: signatures `[M, 16]` and `[n, 16]`.
        new: how many rows were known before.
        free: bool `[M]`, rows that may be meant.
    """
    size = golden.norm(dim=-1)
    near = 2 * SAME * size
    distance = torch.cdist(golden[new:], actual)
    least = distance.min(1, keepdim=True).values
    equal = EQUAL * size[new:, None]  # as far as two equal rows seem to be
    same = (distance <= near[new:, None]) & (distance <= 2 * least + equal)
    same &= distance < torch.inf
    pairs = torch.nonzero(same & free)
    if not len(pairs):
        return None
    offsets, votes = (pairs[:, 1] - pairs[:, 0] - new).unique(return_counts=True)
    likely = offsets[votes == votes.max()][:MOST_PLACES].tolist()
    offset = max(likely, key=lambda offset: _known_before(actual, golden[:new], free, offset))
    return max(new, -offset), offset


def _known_before(
    actual: torch.Tensor, golden: torch.Tensor, free: torch.Tensor, offset: int
) -> int:
    """How many of the last rows of `golden` `[n, 16]` a tensor has, too, in their places.

    Args:
        free: bool `[M]`, rows that are not another sequence's.
    """
    first = max(0, -offset)
    last = min(len(golden), len(actual) - offset)
    if last < len(golden) or first >= last:
        return 0
    places = slice(first + offset, last + offset)
    distance = (golden[first:] - actual[places]).norm(dim=-1)
    near = distance <= 2 * SAME * golden[first:].norm(dim=-1)
    far = torch.nonzero(~(near & free[places])).flatten()
    return last - first - (int(far[-1]) + 1 if len(far) else 0)
