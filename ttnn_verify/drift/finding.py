"""A finding: the verdict on a call of a model that gets Hugging Face's values."""

import dataclasses

import torch

from ttnn_verify import jobs
from ttnn_verify.drift.observation.walk import ModelCall
from ttnn_verify.numerics import tolerance
from ttnn_verify.ops import table

# Statuses of a call; those of `BAD` are drift.
OK = "ok"  # its error is explained by its arithmetic
WRONG = "wrong"  # does not compute from its operands what its name and arguments say
MISUSED = "misused"  # computes that, but it is not what Hugging Face's step computes
MISSING = "missing"  # no call computes a step; found at the call that needs it
UNEQUAL = "output"  # the model returns something else than its last call computed
NO_GOLDEN = "no-golden"  # there is no golden for the call, or for its input
TOOL_ERROR = "tool-error"
BAD = (WRONG, MISUSED, MISSING, UNEQUAL)


class DriftUndetermined(jobs.Undetermined):
    """Drift cannot be determined; the message says why."""


@dataclasses.dataclass(frozen=True)
class Brief:
    """Stands in for a `metrics.Comparison` of values that are one rounding apart."""

    relative_l2: float
    pcc: float


@dataclasses.dataclass(frozen=True, eq=False)
class Intended:
    """What a call should have made, by Hugging Face, where that is not what its operands make.

    Attributes:
        names: of Hugging Face's value; of several, any may be meant.
        result: which of the call's results it should be.
        expected: the value's rows `[R, ...]`; None where it is not known which ones.
        index: int64 `[R, ...]`, their places in the flattened result.
        allowed: as `tolerance.Verdict` has it, of exactly these rows; None where they were not
            judged.
    """

    names: tuple[str, ...]
    result: int = 0
    expected: torch.Tensor | None = None
    index: torch.Tensor | None = None
    allowed: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True)
class OpFinding:
    """The verdict on a call of an operation.

    Attributes:
        status: one of the above.
        model_call, index: which call of the model, which operation in it.
        operation: full name; of a missing step, the kind of operation that would compute it.
        layer, part, value: where it is in the model, and which value it computes, as far as known.
        own: the verdict on its result given its operands.
        step: the verdict on its result as the value of Hugging Face's step.
        inputs: the worst PCC of its inputs with Hugging Face's; None if none was compared.
        note: in words.
        declared: of a product, attention or norm, the precision that it asks for, in words.
        intended: of a misused operation, as long as the model runs.
        chip: of a mesh, the chips on which it is bad, in words; "" for all of them, or one chip.
    """

    status: str
    model_call: ModelCall
    index: int
    operation: str
    layer: int | None = None
    value: str | None = None
    part: str | None = None
    own: tolerance.Verdict | None = None
    step: tolerance.Verdict | None = None
    inputs: float | None = None
    note: str = ""
    declared: str = ""
    intended: Intended | None = dataclasses.field(default=None, compare=False, repr=False)
    chip: str = ""

    @property
    def bad(self) -> bool:
        """Whether it is drift."""
        return self.status in BAD

    @property
    def place(self) -> tuple[int, int]:
        """The order of findings: of calls of the model, then of operations."""
        return self.model_call.number, self.index

    @property
    def value_place(self) -> tuple[int | None, str | None]:
        """The layer and the value, as far as known."""
        return self.layer, self.value

    @property
    def verdict(self) -> tolerance.Verdict | None:
        """The verdict that decides: of a wrong operation its own, else the step's."""
        return self.own if self.status == WRONG or self.step is None else self.step

    @property
    def where(self) -> str:
        """The layer and the part of it in words."""
        return place_in_words(self.layer, self.part)

    @property
    def headline(self) -> str:
        """`linear (o_proj), layer 2, attention: relative L2 0.05 of 0.015, 3.3 x`"""
        value = f" ({self.value})" if self.value else ""
        says = self.verdict.headline if self.verdict and not self.verdict.passed else self.note
        place = f"{value}{self._on_chip}, {self.where}"
        return f"{table.short_name(self.operation)}{place}: {says or self.status}"

    @property
    def line(self) -> str:
        """`layer 2, attention, ttnn.linear (o_proj): PCC 0.71 where 0.9998 is expected; ...`"""
        value = f" ({self.value})" if self.value else ""
        text = f"{self.where}, {self.operation}{value}{self._on_chip}"
        if self.verdict is not None:
            text += f": {described(self.verdict)}"
        if self.inputs is not None:
            text += f"; inputs matched to {self.inputs:.5f}"
        if self.note:
            text += f"; {self.note}"
        return f"{text} [{self.model_call}]"

    @property
    def _on_chip(self) -> str:
        return f" on {self.chip}" if self.chip else ""


def place_in_words(layer: int | None, part: str | None) -> str:
    """`layer 2, attention`"""
    numbered = None if layer is None else f"layer {layer}"
    return ", ".join(one for one in (numbered, part) if one) or "between the layers"


def described(verdict: tolerance.Verdict) -> str:
    """A verdict in a few words; the figure that shows the failure comes first."""
    comparison, least = verdict.comparison, verdict.pcc_floor
    if verdict.passed:
        return f"relative L2 {comparison.relative_l2:.2g}, which its arithmetic explains"
    if comparison.pcc is not None and least is not None and comparison.pcc < least:
        return f"PCC {comparison.pcc:.{_decimals(comparison.pcc)}f} where {least:.6g} is expected"
    if verdict.status == "drift":
        allowed = comparison.relative_l2 / verdict.used if verdict.used else 0.0
        row = comparison.worst_row
        if row and comparison.relative_l2 and row.value / comparison.relative_l2 > 5:
            return (
                f"row {row.index} is off by {row.value:.2g} of itself, "
                f"{verdict.used:.1f} x what is allowed"
            )
        return f"relative L2 {comparison.relative_l2:.2g} where {allowed:.2g} is allowed"
    return verdict.line


def _decimals(pcc: float) -> int:
    return 2 if pcc < 0.99 else 6
