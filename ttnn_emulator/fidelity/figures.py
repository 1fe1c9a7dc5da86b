"""How a replayed call compares with its recording: equal bits, distances, and their limits."""

import dataclasses
import math
from collections.abc import Mapping

import torch

from ttnn_emulator.arithmetic import formats
from ttnn_emulator.fidelity.recordings import Case
from ttnn_emulator.fidelity.references import defined, exact


@dataclasses.dataclass(frozen=True)
class Limit:
    """What a row of the table must keep; None is no limit."""

    share: float
    ulp: float | None = None
    distance: float | None = None
    correlation: float | None = None

    def __str__(self) -> str:
        parts = [f"{100 * self.share:g} %"]
        parts += [] if self.ulp is None else [f"{self.ulp:g} ULP"]
        parts += [] if self.distance is None else [f"distance {self.distance:g}"]
        parts += [] if self.correlation is None else [f"correlation {self.correlation:g}"]
        return ", ".join(parts)


@dataclasses.dataclass(frozen=True)
class ReplayFigures:
    """Comparison of replayed outputs with recorded ones; `+` joins those of several.

    Attributes:
        elements, equal: defined elements within the logical shape, and those equal bit for bit.
        padding, padding_equal: the same of the tile padding, where it was recorded.
        undefined: elements that were not compared.
        ulp: largest distance, in units in the last place of the output's format.
        distance: to the kernels, relative to the kernels' error; None where that is zero in both.
        correlation: of our error with the kernels'; None where there is no error.
        refused: calls that could not be made.
    """

    elements: int = 0
    equal: int = 0
    padding: int = 0
    padding_equal: int = 0
    undefined: int = 0
    ulp: float = 0.0
    distance: float | None = None
    correlation: float | None = None
    refused: int = 0

    def __add__(self, other: "ReplayFigures") -> "ReplayFigures":
        def both(name: str) -> list[float]:
            return [v for v in (getattr(self, name), getattr(other, name)) if v is not None]

        return ReplayFigures(
            elements=self.elements + other.elements,
            equal=self.equal + other.equal,
            padding=self.padding + other.padding,
            padding_equal=self.padding_equal + other.padding_equal,
            undefined=self.undefined + other.undefined,
            refused=self.refused + other.refused,
            ulp=max(both("ulp")),
            distance=max(both("distance"), default=None),
            correlation=min(both("correlation"), default=None),
        )

    @property
    def share(self) -> float:
        """Of the elements, those that are equal."""
        return self.equal / self.elements if self.elements else 1.0

    @property
    def padding_share(self) -> float:
        """Of the padding, what is equal."""
        return self.padding_equal / self.padding if self.padding else 1.0

    def meets(self, limit: Limit) -> bool:
        """Whether every figure keeps its limit; padding has that of the other elements."""
        return (
            not self.refused
            and min(self.share, self.padding_share) >= limit.share
            and (limit.ulp is None or self.ulp <= limit.ulp)
            and (limit.distance is None or (self.distance or 0.0) <= limit.distance)
            and (
                limit.correlation is None
                or self.correlation is None
                or self.correlation >= limit.correlation
            )
        )


def compare(case: Case, outputs: Mapping[str, torch.Tensor]) -> ReplayFigures:
    """Figures of one case's replayed outputs, by name, of the recorded shapes."""
    each = (_compared(case, name, values) for name, values in outputs.items())
    return sum(each, ReplayFigures())


def _compared(case: Case, name: str, ours: torch.Tensor) -> ReplayFigures:
    entry = case.tensors[name]
    theirs = case.tensor(name, padded=entry.get("stored") == "padded")
    counts = defined(case, name)
    inside = torch.zeros_like(counts)
    logical = tuple(slice(0, size) for size in entry["shape"])
    inside[logical] = True
    same = _pattern(ours) == _pattern(theirs)
    distance, correlation = None, None
    reference = exact(case, name)
    if reference is not None:
        distance, correlation = _errors(
            ours[logical].double() - reference,
            theirs[logical].double() - reference,
            counts[logical],
        )
    apart = ulps(ours, theirs, entry["dtype"])[counts & inside]
    return ReplayFigures(
        elements=int((counts & inside).sum()),
        equal=int((same & counts & inside).sum()),
        padding=int((counts & ~inside).sum()),
        padding_equal=int((same & counts & ~inside).sum()),
        undefined=int((~counts).sum()),
        ulp=apart.max().item() if apart.numel() else 0.0,
        distance=distance,
        correlation=correlation,
    )


def _errors(
    ours: torch.Tensor, theirs: torch.Tensor, counts: torch.Tensor
) -> tuple[float | None, float | None]:
    """Distance and correlation of two errors, where both are finite."""
    counts = counts & ours.isfinite() & theirs.isfinite()
    ours, theirs = ours[counts], theirs[counts]
    apart, size = (ours - theirs).norm().item(), theirs.norm().item()
    if not size:
        return (math.inf, 0.0) if apart else (None, None)
    if not apart:
        return 0.0, 1.0
    ours, theirs = ours - ours.mean(), theirs - theirs.mean()
    lengths = (ours.norm() * theirs.norm()).item()
    return apart / size, (ours @ theirs).item() / lengths if lengths else 0.0


def _pattern(values: torch.Tensor) -> torch.Tensor:
    return values.contiguous().view(torch.int32).long()


def ulps(ours: torch.Tensor, theirs: torch.Tensor, dtype: str) -> torch.Tensor:
    """[...] float64: distances in units in the last place of a device dtype.

    Floats are numbered in their order, so that neighbours are one apart and the two zeros none; in
    a block the unit is that of its largest recorded value; integers are subtracted.
    """
    if dtype in formats.BLOCK_FORMAT_BITS:
        blocks = theirs.unflatten(-1, (-1, formats.BLOCK)).abs().amax(-1, keepdim=True)
        exponents = torch.frexp(blocks).exponent - formats.BLOCK_FORMAT_BITS[dtype]
        units = torch.ldexp(torch.ones_like(blocks).double(), exponents)
        apart = (ours - theirs).unflatten(-1, (-1, formats.BLOCK)).double().abs() / units
        return torch.where(blocks > 0, apart, (apart != 0).double()).flatten(-2)
    if not ours.dtype.is_floating_point:
        return (ours.long() - theirs.long()).abs().double()
    ours, theirs = (_numbered(x) for x in (ours, theirs))
    return (ours - theirs).abs().double() / (1 if dtype == "float32" else 1 << 16)


def _numbered(values: torch.Tensor) -> torch.Tensor:
    pattern = _pattern(values)
    return torch.where(pattern < 0, -(pattern & 0x7FFFFFFF), pattern)
