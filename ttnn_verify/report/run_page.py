"""The page of a pytest run: the values of `content` and the pictures of `plots` in a template."""

import dataclasses
import itertools
import pathlib
import time
from typing import Any

from ttnn_verify import baseline
from ttnn_verify.pytest_plugins.comparisons import ComparisonEntry
from ttnn_verify.pytest_plugins.outcomes import NodeResult
from ttnn_verify.pytest_plugins.regression import BaselineOutcome
from ttnn_verify.report import content, machine, plots, templating
from ttnn_verify.report.drift import drift_page
from ttnn_verify.report.drift.drift_record import DriftRecord


@dataclasses.dataclass(frozen=True)
class CheckedBaseline:
    """The baseline that a run was checked against, with its path as messages name it."""

    name: str
    accepted: baseline.Baseline
    limits: baseline.Limits
    outcome: BaselineOutcome


@dataclasses.dataclass(frozen=True)
class RunSummary:
    """A run that has ended, as the page shows it.

    Attributes:
        passed: whether pytest's exit status was 0.
        backend: as reports name it.
        command: what was typed.
        root: the folder of the tests.
        started: when, in seconds since the epoch.
        results: of every test that ran.
        checked: None without a baseline.
        drift: a drift report to show too, None without.
    """

    passed: bool
    backend: str
    command: str
    root: pathlib.Path
    started: float
    results: tuple[NodeResult, ...]
    checked: CheckedBaseline | None
    drift: DriftRecord | None


def render(run: RunSummary) -> str:
    """The run as HTML, self-contained: style, script and pictures are in it."""
    rows = content.rows(run.results, run.checked.accepted.cases if run.checked else {})
    tiers = content.tiers(run.results)
    return templating.fill(
        "run.html.jinja",
        run=run,
        finished=machine.now(),
        seconds=time.time() - run.started,
        versions=machine.versions(),
        processor=machine.processor(),
        commit=machine.commit(run.root),
        total=content.total(run.results),
        pyramid=[tier for tier in tiers if tier.compares],
        tools=[tier for tier in tiers if not tier.compares],
        failures=content.failures(run.results),
        rows=rows,
        drift_picture=run.drift and drift_page.picture(run.drift),
        **pictures(rows),
    )


def pictures(rows: list[content.CaseRow]) -> dict[str, Any]:
    """The pictures as SVG; over depth, how many values are shown and how many are not."""
    used = [value for row in rows if (value := row.entry["used"]) is not None]
    depth = content.depth(rows)  # what used most of its tolerance first, as the rows
    shown = dict(itertools.islice(depth.items(), plots.MOST_SERIES))
    return {
        "histograms": [(row, _histogram(row.entry)) for row in content.worst(rows)],
        "shares": plots.shares(used) if used else None,
        "depth": plots.over_depth(shown) if shown else None,
        "shown": len(shown),
        "others": len(depth) - len(shown),
    }


def _histogram(entry: ComparisonEntry) -> str:
    """Of an entry that `content.worst` chose, so that it has a histogram and an error."""
    return plots.error_histogram(
        entry["histogram"] or [0], entry["relative_l2"] or 1.0, entry["allowed"]
    )
