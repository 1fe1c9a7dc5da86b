"""The contents of a run's page as plain values: tiers, comparisons, the worst comparisons."""

import collections
import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence

from ttnn_verify import baseline
from ttnn_verify.pytest_plugins.comparisons import ComparisonEntry
from ttnn_verify.pytest_plugins.outcomes import NodeResult

# The tiers that compare a model's parts, from the top down. Other folders of tests/ test the tools.
PYRAMID = ("e2e", "layers", "ops", "properties")
OTHER = "other"  # in no folder below tests/

HISTOGRAMS = 12  # of the worst cases

BAD = ("failed", "error")


@dataclasses.dataclass(frozen=True)
class Tier:
    """A tier's tests and comparisons: counts, seconds, and the worst figures."""

    name: str
    outcomes: dict[str, int]
    seconds: float
    comparisons: int
    pcc: float | None
    used: float | None

    @property
    def compares(self) -> bool:
        """Whether it is a tier of the pyramid."""
        return self.name in PYRAMID

    @property
    def tests(self) -> int:
        return sum(self.outcomes.values())

    @property
    def passed(self) -> int:
        return self.outcomes.get("passed", 0) + self.outcomes.get("xfailed", 0)

    @property
    def failed(self) -> int:
        return sum(self.outcomes.get(name, 0) for name in (*BAD, "xpassed"))

    @property
    def skipped(self) -> int:
        return self.outcomes.get("skipped", 0)


@dataclasses.dataclass(frozen=True)
class CaseRow:
    """A comparison: its case and tier, its entry, and its figures in the baseline."""

    case: str
    tier: str
    entry: ComparisonEntry
    was: baseline.CaseFigures | None

    @property
    def test(self) -> str:
        """The name of the test, without its parameters."""
        return re.split(r"\[| \| ", self.case.partition("::")[2])[0]

    @property
    def ratio(self) -> float | None:
        """Its relative L2 over the baseline's; None where either is unknown."""
        now, was = self.entry.get("relative_l2"), self.was and self.was.relative_l2
        if now is None or was is None:
            return None
        return now / was if was else (1.0 if now == 0 else math.inf)


def tier_of(nodeid: str) -> str:
    """The folder below tests/ that a test is in, or the one of the pyramid, wherever that is.

    Of `ttnn_verify.suite` each module is a tier.
    """
    file = nodeid.partition("::")[0]
    *folders, _ = file.split("/") if file.endswith(".py") else (*file.split("."), "")
    below = folders[folders.index("tests") + 1 :] if "tests" in folders else folders
    return next((name for name in below if name in PYRAMID), below[0] if below else OTHER)


def tiers(results: Iterable[NodeResult]) -> list[Tier]:
    """A `Tier` for each that has tests: the pyramid from the top down, then the others by name."""
    by_name = collections.defaultdict(list)
    for result in results:
        by_name[tier_of(result.nodeid)].append(result)
    others = sorted(by_name.keys() - {*PYRAMID, OTHER})
    return [_tier(name, by_name[name]) for name in (*PYRAMID, *others, OTHER) if name in by_name]


def _tier(name: str, results: Sequence[NodeResult]) -> Tier:
    entries = [entry for result in results for entry in result.entries]
    pccs = [entry["pcc"] for entry in entries if entry["pcc"] is not None]
    used = [entry["used"] for entry in entries if entry["used"] is not None]
    return Tier(
        name,
        dict(collections.Counter(result.outcome for result in results)),
        sum(result.seconds for result in results),
        len(entries),
        min(pccs, default=None),
        max(used, default=None),
    )


def total(results: Sequence[NodeResult]) -> Tier:
    """All tests as one tier."""
    return _tier("all", results)


def rows(results: Iterable[NodeResult], known: Mapping[str, baseline.CaseFigures]) -> list[CaseRow]:
    """A row for each comparison, those that used most of their tolerance first.

    Args:
        known: the baseline's cases.
    """
    cases = [
        CaseRow(case, tier_of(result.nodeid), entry, known.get(case))
        for result in results
        for case, entry in zip(
            baseline.names(result.nodeid, result.entries), result.entries, strict=True
        )
    ]
    return sorted(cases, key=lambda row: (*(-x for x in _badness(row.entry)), row.case))


def _badness(entry: ComparisonEntry) -> tuple[bool, float]:
    """A sort key, highest for the worst: failed comparisons, then by share of the tolerance."""
    return not entry["passed"], -1.0 if entry["used"] is None else entry["used"]


def worst(rows: Iterable[CaseRow]) -> list[CaseRow]:
    """The first `HISTOGRAMS` rows that have a histogram, beginning with one of each op."""
    having = [row for row in rows if row.entry.get("histogram") and row.entry.get("relative_l2")]
    first: dict[str, CaseRow] = {}
    for row in having:
        first.setdefault(row.entry["op"], row)
    chosen = list(first.values())[:HISTOGRAMS]
    rest = [row for row in having if row not in chosen]
    return chosen + rest[: HISTOGRAMS - len(chosen)]


def failures(results: Iterable[NodeResult]) -> list[NodeResult]:
    """The tests that failed, in the order in which they ran."""
    return [result for result in results if result.outcome in (*BAD, "xpassed")]


def depth(rows: Iterable[CaseRow]) -> dict[str, list[tuple[int, float]]]:
    """name -> [(layer, relative L2)] of the layer tier's comparisons that say their layer.

    Of several of a layer under one name the greatest error counts.
    """
    series: dict[str, dict[int, float]] = {}
    for row in rows:
        layer = re.search(r"\blayers?[ ._-]?(\d+)", row.entry["case"])
        error = row.entry.get("relative_l2")
        if row.tier == "layers" and layer and error:
            name = row.entry["op"].removeprefix("layers.")
            points = series.setdefault(name, {})
            number = int(layer[1])
            points[number] = max(error, points.get(number, 0.0))
    return {name: sorted(points.items()) for name, points in series.items() if len(points) > 1}
