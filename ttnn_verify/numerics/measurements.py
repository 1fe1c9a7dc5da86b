"""The result of comparing two tensors: its figures, and how they read in a message."""

from __future__ import annotations

import dataclasses
import math

from ttnn_verify.numerics.formats import FACE, TILE


@dataclasses.dataclass(frozen=True)
class NonFinite:
    """How many elements of a tensor are NaN or infinite."""

    nan: int
    inf: int

    def __bool__(self) -> bool:
        return bool(self.nan or self.inf)

    def __str__(self) -> str:
        return f"{self.nan} NaN, {self.inf} inf"


@dataclasses.dataclass(frozen=True)
class MaxError:
    """The greatest absolute difference, its index and the two values there."""

    value: float
    index: tuple[int, ...]
    expected: float
    actual: float

    @property
    def tile(self) -> tuple[int, int]:
        """(row, column) of the 32x32 tile that holds the index."""
        row, column = self._row_and_column
        return row // TILE, column // TILE

    @property
    def face(self) -> int:
        """Which 16x16 face of the tile: 0 and 1 are the upper two, 2 and 3 the lower two."""
        row, column = self._row_and_column
        return row % TILE // FACE * 2 + column % TILE // FACE

    @property
    def _row_and_column(self) -> tuple[int, int]:
        row, column = (0, 0, *self.index)[-2:]
        return row, column

    def __str__(self) -> str:
        return (
            f"{self.value:.3g} at {self.index} (tile {self.tile}, face {self.face}): "
            f"{self.actual:.6g} for {self.expected:.6g}"
        )


@dataclasses.dataclass(frozen=True)
class WorstRow:
    """The row (last dimension) with the greatest relative L2 error, and its index."""

    value: float
    index: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.value:.3g} in row {self.index}"


@dataclasses.dataclass(frozen=True)
class Ulps:
    """|actual - expected| in units in the last place: three percentiles and the maximum.

    A correct rounding errs by 0.5 at most. Values below the tensor's median magnitude are measured
    in the units of that: see `metrics.ulps`.
    """

    p50: float
    p95: float
    p99: float
    max: float

    def __str__(self) -> str:
        return f"{self.p50:.2g}/{self.p95:.2g}/{self.p99:.2g}/{self.max:.3g}"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """`actual` against `expected`, elementwise: what `metrics.compare` returns.

    Attributes:
        shapes: of expected and actual. If they differ, every metric is NaN or None.
        dtype: the format whose units in the last place are counted.
        dtype_matches: whether every actual value is representable in the format asked for.
        elements: how many.
        nonfinite_expected, nonfinite_actual: NaN and infinite elements of each.
        nonfinite: elements that are NaN or infinite in one, and not the same in the other.
        mismatches: elements with different bits; NaN equals NaN, -0 does not equal 0.
        relative_l2: |actual - expected| / |expected|, Euclidean norms.
        worst_row: the same for the worst row, see `metrics.worst_row`; None without elements.
        pcc: Pearson's correlation, 1 of equal constants; None where either is constant and the
            other is not equal to it.
        spread: standard deviation of expected over its root mean square; 1 at a mean of zero.
        slope, intercept: of the least-squares line actual = slope * expected + intercept; None
            where expected is constant.
        cosine: of the angle between the two; None where either is zero.
        ulps: distance in units in the last place; None for integers, and where all of expected is
            zero.
        max_error: the greatest difference and where; None without elements.
        histogram: of the errors, see `metrics.histogram`; None where they are all zero or not all
            finite.
    """

    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    dtype: str
    dtype_matches: bool
    elements: int
    nonfinite_expected: NonFinite
    nonfinite_actual: NonFinite
    nonfinite: int
    mismatches: int
    relative_l2: float
    worst_row: WorstRow | None
    pcc: float | None
    spread: float
    slope: float | None
    intercept: float | None
    cosine: float | None
    ulps: Ulps | None
    max_error: MaxError | None
    histogram: tuple[int, ...] | None = None

    @classmethod
    def of_other_shape(
        cls,
        shapes: tuple[tuple[int, ...], tuple[int, ...]],
        dtype: str,
        dtype_matches: bool,
        elements: int,
        nonfinite: tuple[NonFinite, NonFinite],
    ) -> Comparison:
        """The comparison of tensors whose shapes differ: nothing is measured.

        Args:
            nonfinite: of expected and actual.
        """
        return cls(
            shapes=shapes,
            dtype=dtype,
            dtype_matches=dtype_matches,
            elements=elements,
            nonfinite_expected=nonfinite[0],
            nonfinite_actual=nonfinite[1],
            nonfinite=0,
            mismatches=0,
            relative_l2=math.nan,
            worst_row=None,
            pcc=None,
            spread=math.nan,
            slope=None,
            intercept=None,
            cosine=None,
            ulps=None,
            max_error=None,
        )

    @property
    def shape_matches(self) -> bool:
        return self.shapes[0] == self.shapes[1]

    @property
    def equal(self) -> bool:
        """Whether shape and bits are equal."""
        return self.shape_matches and self.mismatches == 0

    def __str__(self) -> str:
        if not self.shape_matches:
            return f"shape {self.shapes[1]} for {self.shapes[0]}"
        if self.nonfinite:
            return (
                f"{self.elements} elements, not finite: {self.nonfinite_actual} in the result, "
                f"{self.nonfinite_expected} in the reference; first differing: {self.max_error}"
            )
        if self.equal:
            return f"{self.elements} elements, equal"
        pcc = "undefined (a constant)" if self.pcc is None else f"{self.pcc:.6f}"
        line = "" if self.slope is None else f"slope {self.slope:.4f}, "
        ulps = "" if self.ulps is None else f"ULP {self.ulps}, "
        return (
            f"{self.elements} elements, {self.mismatches} differ, "
            f"relative L2 {self.relative_l2:.3g} ({self.worst_row}), PCC {pcc}, {line}{ulps}"
            f"greatest error {self.max_error}"
        )
