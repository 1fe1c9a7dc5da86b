"""The figures of every comparison of a run, and what changed in them since an earlier one."""

import dataclasses
import datetime
import importlib.metadata
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ttnn_verify import backend

if TYPE_CHECKING:  # pytest, which it is a plugin of, need not be there
    from ttnn_verify.pytest_plugins.comparisons import ComparisonEntry

# How much PCC a case may lose: what an error of 3 % of the tensor costs. `ERROR_SLACK` is the
# stricter limit. November 2026, as is the next.
PCC_SLACK = 0.0005

# The share by which relative L2 may rise, as a whole and in the worst row. PCC near 1 hides nearly
# everything: an error that grows from 0.3 % to 3 % of the tensor costs 0.00045 of PCC. On the
# emulated device figures repeat but for the reference's float32 sums, which another processor adds
# in another order, so that a few elements round to the other side. Independent errors add as
# squares: a whole that has grown by 10 % hides an error of 46 % of the honest one.
ERROR_SLACK = 0.10

# Relative L2 errors closer than this count as equal: the reference's float32 resolution (2^-24 per
# element), with room for sums of some hundred elements.
RESOLUTION = 1e-6


@dataclasses.dataclass(frozen=True)
class Platform:
    """What figures depend on: backend, arithmetic (None without a choice), TTNN's version.

    And the system, where it is requested or emulated, and is no n150.
    """

    backend: str
    arithmetic: str | None
    ttnn: str
    system: str | None = None

    @classmethod
    def of(cls, picked: str, arithmetic: str | None, system: str | None = None) -> "Platform":
        """The platform of a run on a backend that `backend.pick` returned."""
        own = arithmetic or backend.ARITHMETICS[0] if picked == "emulated" else None
        several = None if system == next(iter(backend.SYSTEMS)) else system
        return cls(picked, own, importlib.metadata.version("ttnn"), several)

    @property
    def file_name(self) -> str:
        """The name of this platform's file in a folder of baselines."""
        return "-".join(filter(None, (self.backend, self.system, self.arithmetic))) + ".json"

    def __str__(self) -> str:
        described = backend.described(self.backend, self.arithmetic, self.system)
        return f"{described}, ttnn {self.ttnn}"


@dataclasses.dataclass(frozen=True)
class CaseFigures:
    """A comparison's figures in a baseline; None for those that it does not have.

    Attributes:
        pcc, relative_l2, worst_row: these are checked; `worst_row` is a relative L2.
        ulp, used: the greatest error in ULPs and the share of the tolerance; not checked.
    """

    pcc: float | None
    relative_l2: float | None
    worst_row: float | None
    ulp: float | None
    used: float | None

    @classmethod
    def of(cls, entry: "ComparisonEntry") -> "CaseFigures":
        """From an entry, rounded to the digits that are kept."""
        return cls(
            pcc=None if entry["pcc"] is None else _finite(round(entry["pcc"], 9)),
            relative_l2=_digits(entry.get("relative_l2")),
            worst_row=_digits(entry.get("worst_row")),
            ulp=_digits(entry.get("ulp")),
            used=_digits(entry.get("used")),
        )


def _digits(value: float | None, digits: int = 4) -> float | None:
    return None if value is None else _finite(float(f"{value:.{digits}g}"))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


# The figures that are checked, and that a relaxation may allow to be worse.
CHECKED_FIGURES = ("pcc", "relative_l2", "worst_row")


@dataclasses.dataclass(frozen=True)
class Relaxation:
    """Worse figures that a case is allowed until a day, that day included."""

    reason: str
    until: datetime.date
    pcc: float | None = None
    relative_l2: float | None = None
    worst_row: float | None = None


@dataclasses.dataclass(frozen=True)
class Baseline:
    """The figures of a run by case, and the relaxations that people have written into the file."""

    platform: Platform
    cases: dict[str, CaseFigures]
    relaxed: dict[str, Relaxation] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Limits:
    """How much worse than its baseline a case may be, and from which difference on it is better."""

    pcc: float = PCC_SLACK
    error: float = ERROR_SLACK


# Lost more than the slack; relaxed, until a day that is past; lost and relaxed; better by more than
# the slack, which wants an explanation too; the same error under a wider tolerance.
KINDS = ("lost", "expired", "relaxed", "rose", "widened")


@dataclasses.dataclass(frozen=True)
class CaseChange:
    """How a case changed: one of `KINDS`, and its figures in a line."""

    kind: str
    case: str
    line: str

    @property
    def failed(self) -> bool:
        return self.kind in ("lost", "expired")

    @property
    def name(self) -> str:
        """The comparison's own name as far as the case has one, else the test's."""
        test, _, own = self.case.partition(" | ")
        return own or test.partition("[")[2].rpartition("]")[0] or test.rpartition("::")[2]

    def __str__(self) -> str:
        return f"{self.case}: {self.line}"


def names(nodeid: str, entries: "Sequence[ComparisonEntry]") -> list[str]:
    """The case of each entry of a test: the node id, and the entry's own name if that adds more.

    Repeated names are numbered.
    """
    parameters = nodeid.partition("[")[2].removesuffix("]")
    cases: list[str] = []
    for entry in entries:
        own = entry["case"].removeprefix(parameters).strip()
        case = f"{nodeid} | {own}" if own else nodeid
        times = sum(name == case or name.startswith(f"{case} #") for name in cases)
        cases.append(f"{case} #{times + 1}" if times else case)
    return cases


def node(case: str) -> str:
    """The node id in a case name made by `names`."""
    return re.sub(r" #\d+$", "", case.partition(" | ")[0])


def judge(
    case: str,
    was: CaseFigures,
    now: CaseFigures,
    limits: Limits = Limits(),
    relaxation: Relaxation | None = None,
    today: datetime.date | None = None,
) -> CaseChange | None:
    """How a case changed since its baseline; None if it did not.

    Args:
        relaxation: the case's.
        today: the day that relaxations are held against, by default this one.
    """
    if relaxation and (today or datetime.date.today()) > relaxation.until:
        line = (
            f"relaxed until {relaxation.until} ({relaxation.reason}), which has passed; "
            f"{both(was, now, limits)}"
        )
        return CaseChange("expired", case, line)
    if _worse(was, now, limits):
        if relaxation and not _worse(_relaxed(was, relaxation), now, limits):
            until = f"relaxed until {relaxation.until}: {relaxation.reason}"
            line = f"{both(was, now, limits)}; {until}"
            return CaseChange("relaxed", case, line)
        return CaseChange("lost", case, both(was, now, limits))
    if _worse(now, was, limits):
        return CaseChange("rose", case, both(was, now, limits))
    if _widened(was, now, limits):
        used = f"{_figure(now.used)} of its tolerance, the baseline {_figure(was.used)}"
        return CaseChange("widened", case, f"used {used}; its error did not fall with it")
    return None


def _relaxed(was: CaseFigures, relaxation: Relaxation) -> CaseFigures:
    """A case's figures, replaced by those of the relaxation where it has any."""
    return dataclasses.replace(
        was,
        **{
            name: getattr(relaxation, name)
            for name in CHECKED_FIGURES
            if getattr(relaxation, name) is not None
        },
    )


def _worse(was: CaseFigures, now: CaseFigures, limits: Limits) -> bool:
    """Whether `now` is worse by more than the slack in one of the checked figures."""
    return any(_lost(was, now, name, limits) for name in CHECKED_FIGURES)


def _lost(was: CaseFigures, now: CaseFigures, name: str, limits: Limits) -> bool:
    """Whether a checked figure is worse by more than the slack."""
    before, after = getattr(was, name), getattr(now, name)
    if before is None or after is None:
        return False
    if name == "pcc":
        return bool(after < before - limits.pcc)
    return bool(after > before * (1 + limits.error) + RESOLUTION)


def _errors(
    was: CaseFigures, now: CaseFigures
) -> tuple[tuple[float | None, float | None], tuple[float | None, float | None]]:
    """The relative L2 errors (before, now) of the whole and of the worst row."""
    return (was.relative_l2, now.relative_l2), (was.worst_row, now.worst_row)


def _widened(was: CaseFigures, now: CaseFigures, limits: Limits) -> bool:
    """Whether the tolerance has grown: the same error uses a smaller share of it."""
    if was.used is None or now.used is None:
        return was.used != now.used and now.used is not None  # equal bits are no longer required
    return all(
        before is not None
        and error is not None
        and error > RESOLUTION
        and was.used * error > now.used * before * (1 + limits.error)
        for before, error in _errors(was, now)
    )


def both(was: CaseFigures, now: CaseFigures, limits: Limits) -> str:
    """Each checked figure that differs, now and in the baseline, in a line.

    Those that changed by more than the slack come first.
    """
    shown = {"pcc": "PCC", "relative_l2": "relative L2", "worst_row": "worst row"}
    differ = [field for field in shown if getattr(now, field) != getattr(was, field)]
    differ.sort(key=lambda f: not (_lost(was, now, f, limits) or _lost(now, was, f, limits)))
    parts = [
        f"{shown[field]} {_figure(getattr(now, field))}, "
        f"the baseline has {_figure(getattr(was, field))}"
        for field in differ
    ]
    return "; ".join(parts) or "the same figures"


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:.9g}"


def updated(
    baseline: Baseline, now: Mapping[str, CaseFigures], vanished: Collection[str], limits: Limits
) -> Baseline:
    """The baseline with improved and new cases, without vanished ones; no figure gets worse.

    Args:
        now: the figures of the run's passed cases.
        vanished: cases that the baseline loses.
    """
    cases = {case: figures for case, figures in baseline.cases.items() if case not in vanished}
    for case, figures in now.items():
        was = cases.get(case)
        change = judge(case, was, figures, limits) if was else None
        if was is None or (change and change.kind in ("rose", "widened")):
            cases[case] = figures
        elif was.ulp is None:  # not checked, so that it may be filled in whatever it is
            cases[case] = dataclasses.replace(was, ulp=figures.ulp)
    relaxed = {case: r for case, r in baseline.relaxed.items() if case not in vanished}
    return dataclasses.replace(baseline, cases=cases, relaxed=relaxed)


def diff(
    a: Baseline,
    b: Baseline,
    limits: Limits = Limits(),
) -> Iterator[tuple[str, str]]:
    """(kind, line) of what differs from baseline `a` to `b`: lost, rose, new, vanished."""
    for case in sorted(a.cases.keys() | b.cases.keys()):
        if case not in b.cases:
            yield "vanished", case
        elif case not in a.cases:
            yield "new", case
        else:
            change = judge(case, a.cases[case], b.cases[case], limits)
            if change:
                yield change.kind, str(change)
