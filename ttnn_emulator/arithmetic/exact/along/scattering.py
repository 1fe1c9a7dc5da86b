"""What a data movement core does to elements one by one: scatter, with or without a reduction.

Kernel sources: reader_scatter.cpp and, for bfloat16 with a reduction, reader_bf16_reduction_scatter
.cpp. The core computes in IEEE float32, denormals included, and integers wrap around.
"""

from collections.abc import Callable

import torch

from ttnn_emulator.arithmetic.rounded import rounded_along

REDUCTIONS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "add": torch.add,
    "multiply": torch.mul,
    "amax": torch.maximum,
    "amin": torch.minimum,
}


def scattered(
    x: torch.Tensor,
    index: torch.Tensor,
    source: torch.Tensor,
    dim: int,
    reduction: str | None = None,
) -> torch.Tensor:
    """See `interface.Arithmetic`; the last of several elements for one place stays.

    A bfloat16 row is reduced in float32 and rounded to nearest even at its end.
    """
    kept = torch.float32 if x.is_floating_point() and reduction else x.dtype
    kept = kept if x.is_floating_point() else torch.int64
    rows = x.movedim(dim, -1).to(kept).clone(memory_format=torch.contiguous_format)
    part = rows[tuple(slice(size) for size in index.movedim(dim, -1).shape[:-1])]
    places = index.movedim(dim, -1)
    values = source[tuple(slice(size) for size in index.shape)].movedim(dim, -1).to(kept)
    for place, value in zip(places.unbind(-1), values.unbind(-1), strict=True):
        _write(part, place.long()[..., None], value[..., None], reduction)
    rows = rounded_along.wrapped(rows, x.dtype) if kept is torch.int64 else rows.to(x.dtype)
    return rows.movedim(-1, dim)


def _write(
    rows: torch.Tensor, place: torch.Tensor, value: torch.Tensor, reduction: str | None
) -> None:
    """One element of each row [..., D], `place` and `value` [..., 1], into the rows."""
    inside = (place >= 0) & (place < rows.shape[-1])
    place = torch.where(inside, place, 0)
    old = rows.gather(-1, place)
    new = value if reduction is None else REDUCTIONS[reduction](old, value)
    rows.scatter_(-1, place, torch.where(inside, new, old))
