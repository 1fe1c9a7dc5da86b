"""The sanitizer: what a kernel reads or writes beyond what its operand holds is refused.

A kernel takes an index as it comes. One that lies beyond its operand gives memory of something
else on the device, or ends in a hang; here it ends in `OutOfBounds`. What TTNN's host side checks
by itself (shapes of masks and tables, indices that are Python numbers) it has refused before; these
checks are for what only the contents of a tensor or the way a kernel walks it tell. Indices that a
kernel skips or cuts off by itself are the caller's to leave out, with the kernel's file named.
"""

from collections.abc import Sequence

import torch


class OutOfBounds(IndexError):
    """A kernel would read or write beyond what its operand holds."""


def within(
    indices: torch.Tensor | Sequence[int] | int,
    count: int,
    *,
    op: str,
    operand: str,
    unit: str,
    because: str = "",
) -> None:
    """Refuse indices other than 0, 1, ... count - 1.

    Args:
        indices: a number, a list, or an integer tensor of any shape.
        count: how many there are.
        op: the operation's full name.
        operand: the parameter's name.
        unit: what is counted, in the singular: "row", "page".
        because: how the operation comes to such an index, as "of user 3".

    Raises:
        OutOfBounds: names the first such index.
    """
    indices = torch.as_tensor(indices).flatten().long()
    if not indices.numel() or 0 <= int(indices.min()) <= int(indices.max()) < count:
        return
    first = int(indices[(indices < 0) | (indices >= count)][0])
    raise OutOfBounds(_sentence(op, f"{unit} {first}", operand, unit, count, because))


def span(
    start: int, length: int, count: int, *, op: str, operand: str, unit: str, because: str = ""
) -> None:
    """Refuse `length` neighbours from `start` on that are not all among 0, 1, ... count - 1.

    Raises:
        OutOfBounds: names the first and the last of them.
    """
    if length > 0 and not 0 <= start <= start + length <= count:
        reached = f"{_several(unit)} {start} to {start + length - 1}"
        raise OutOfBounds(_sentence(op, reached, operand, unit, count, because))


def region(
    starts: Sequence[int], sizes: Sequence[int], shape: Sequence[int], *, op: str, operand: str
) -> None:
    """`span` of the elements of each dimension: `sizes` of them from `starts` on, of `shape`."""
    for dim, (start, size, count) in enumerate(zip(starts, sizes, shape, strict=True)):
        because = f"dimension {dim}"
        span(start, size, count, op=op, operand=operand, unit="element", because=because)


def _several(unit: str) -> str:
    """The plural of a unit."""
    return {"copy": "copies", "index": "indices"}.get(unit, f"{unit}s")


def _sentence(op: str, reached: str, operand: str, unit: str, count: int, because: str) -> str:
    existing = (
        f"{_several(unit)} 0 to {count - 1}" if count > 1 else f"{unit} 0 only" if count else "none"
    )
    reason = f" ({because})" if because else ""
    return (
        f"{op} reaches {reached} of {operand}{reason}, which has {existing}; what lies beyond is "
        "memory of something else on the device."
    )
