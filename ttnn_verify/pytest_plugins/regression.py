"""The pytest plugin of PCC regression: --pcc-record, --pcc-check, --pcc-update.

A test whose comparison passed its tolerance and lost against its baseline fails there and then, on
whichever worker; the run's end lists what rose, is new, has vanished or is relaxed.
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from ttnn_verify import baseline, cli
from ttnn_verify.pytest_plugins import comparisons, outcomes, outputs
from ttnn_verify.pytest_plugins.keys import ARITHMETIC, BACKEND, CHECKED, RUN, SYSTEM

LISTED = 20  # most lines of each kind at the end of a run


@dataclasses.dataclass(frozen=True)
class BaselineCheck:
    """A baseline that a run is checked against, and its path."""

    path: pathlib.Path
    limits: baseline.Limits
    accepted: baseline.Baseline

    def changes(
        self, nodeid: str, entries: Sequence[comparisons.ComparisonEntry]
    ) -> Iterator[baseline.CaseChange]:
        """What changed in those of a test's comparisons that passed and that the baseline has."""
        for case, entry in zip(baseline.names(nodeid, entries), entries, strict=True):
            was = self.accepted.cases.get(case)
            if was and entry["passed"]:
                relaxation = self.accepted.relaxed.get(case)
                now = baseline.CaseFigures.of(entry)
                change = baseline.judge(case, was, now, self.limits, relaxation)
                if change:
                    yield change


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("pcc", "PCC regression")
    group.addoption("--pcc-record", metavar="FILE", help="write the figures of all comparisons")
    group.addoption(
        "--pcc-check",
        metavar="FILE",
        help="fail a test whose figures are worse than in this file of --pcc-record; of a folder, "
        "than in its file of the run's backend and arithmetic, if it has one",
    )
    group.addoption(
        "--pcc-update",
        action="store_true",
        help="write into --pcc-check's file what rose and is new; take out what has vanished",
    )
    group.addoption(
        "--pcc-slack",
        metavar="LOSS",
        type=cli.LOSS,
        default=baseline.PCC_SLACK,
        help="PCC that a case may lose (default %(default)s)",
    )
    group.addoption(
        "--pcc-error-slack",
        metavar="SHARE",
        type=cli.LOSS,
        default=baseline.ERROR_SLACK,
        help="share by which relative L2 may rise, of the whole and of the worst row, since PCC "
        "near 1 hides much (default %(default)s)",
    )


@pytest.hookimpl(trylast=True)  # the backend is picked by then
def pytest_configure(config: pytest.Config) -> None:
    config.stash[CHECKED] = None
    option = config.option
    if option.pcc_update and not option.pcc_check:
        raise pytest.UsageError("--pcc-update writes into the file of --pcc-check; name it.")
    if not option.pcc_check:
        return
    platform = platform_of(config)
    path = pathlib.Path(config.invocation_params.dir) / option.pcc_check
    if path.is_dir():
        path /= platform.file_name
        if not path.exists():
            return
    try:
        accepted = baseline.load(path)
        baseline.check_platform(accepted, path, platform)
    except baseline.BaselineError as error:
        raise pytest.UsageError(str(error)) from error
    limits = baseline.Limits(option.pcc_slack, option.pcc_error_slack)
    config.stash[CHECKED] = BaselineCheck(path, limits, accepted)


def platform_of(config: pytest.Config) -> baseline.Platform:
    stash = config.stash
    return baseline.Platform.of(stash[BACKEND], stash[ARITHMETIC], stash[SYSTEM])


def pytest_report_header(config: pytest.Config) -> str | None:
    check = config.stash[CHECKED]
    if check:
        named = outcomes.relative(check.path, config)
        return f"PCC baseline: {named}, {len(check.accepted.cases)} cases"
    if config.option.pcc_check:
        return (
            f"PCC baseline: none, {config.option.pcc_check} has no "
            f"{platform_of(config).file_name}; nothing is checked"
        )
    return None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[Any]:
    result = yield
    check = item.config.stash[CHECKED]
    if check and not item.get_closest_marker("hypothesis"):
        entries = comparisons.entries(item.user_properties)
        failed = [change for change in check.changes(item.nodeid, entries) if change.failed]
        if failed:
            lines = [f"{change.name}: {change.line} (worse than the baseline)" for change in failed]
            pytest.fail("\n".join(lines), pytrace=False)
    return result


class BaselineOutcome:
    """A run compared with its baseline; without one only its figures.

    Attributes:
        figures: those of the comparisons that passed and that repeat, by case.
        failed: how many comparisons did not pass their tolerance.
        changes: what changed in its cases, by kind.
        new: cases that the baseline lacks.
        vanished: its cases that the run selected and did not have.
        checked: how many cases both have.
    """

    def __init__(self, run: outcomes.RunRecord, check: BaselineCheck | None) -> None:
        self.figures: dict[str, baseline.CaseFigures] = {}
        self.failed = 0
        self.changes: dict[str, list[baseline.CaseChange]] = {kind: [] for kind in baseline.KINDS}
        self.new: list[str] = []
        self.vanished: list[str] = []
        self.checked = 0
        seen = set()
        for result in run.tests.values():
            if result.reproducible:
                seen.update(self._add(result, check))
        if check:
            known = check.accepted.cases.keys()
            self.new = sorted(self.figures.keys() - known)
            self.checked = len(self.figures.keys() & known)
            self.vanished = sorted(case for case in known - seen if _gone(run, baseline.node(case)))

    def _add(self, result: outcomes.NodeResult, check: BaselineCheck | None) -> list[str]:
        """Count a test's comparisons in. Returns their cases."""
        cases = baseline.names(result.nodeid, result.entries)
        for case, entry in zip(cases, result.entries, strict=True):
            if entry["passed"]:
                self.figures[case] = baseline.CaseFigures.of(entry)
            else:
                self.failed += 1
        for change in check.changes(result.nodeid, result.entries) if check else ():
            self.changes[change.kind].append(change)
        return cases


def _gone(run: outcomes.RunRecord, nodeid: str) -> bool:
    """Whether a case has vanished: its test does not exist, passed without it, or was skipped."""
    result = run.tests.get(nodeid)
    if result:
        return result.outcome in ("passed", "skipped")
    return run.is_selected(nodeid) and nodeid not in run.collected


def outcome(config: pytest.Config) -> BaselineOutcome:
    """The outcome of the run, in the process that reports."""
    return BaselineOutcome(config.stash[RUN], config.stash[CHECKED])


@pytest.hookimpl(trylast=True)  # below the table of comparisons, which is long
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config
) -> None:
    check, record = config.stash[CHECKED], config.option.pcc_record
    if not check and not record:
        return
    done = outcome(config)
    terminalreporter.section("PCC baseline")
    if exitstatus == pytest.ExitCode.INTERRUPTED:
        # a case that was not come to, or whose file does not import, has not vanished
        terminalreporter.line("the run did not get to its end: nothing is written")
        return
    if check:
        report(terminalreporter, done, outcomes.relative(check.path, config))
    try:
        if check and config.option.pcc_update:
            terminalreporter.line(_updated(check, done))
        if record:
            terminalreporter.line(_recorded(config, record, done))
    except OSError as error:
        outputs.not_written(config, terminalreporter, error)


def _updated(check: BaselineCheck, done: BaselineOutcome) -> str:
    """Write what --pcc-update asks for. Returns what was written."""
    after = baseline.updated(check.accepted, done.figures, set(done.vanished), check.limits)
    if after != check.accepted:
        baseline.save(check.path, after)
    rose = len(done.changes["rose"])
    return f"written: {rose} that rose, {len(done.new)} new; taken out: {len(done.vanished)}"


def _recorded(config: pytest.Config, record: str, done: BaselineOutcome) -> str:
    """Write what --pcc-record asks for. Returns what was written."""
    path = pathlib.Path(config.invocation_params.dir) / record
    baseline.save(path, baseline.Baseline(platform_of(config), done.figures))
    left_out = f"; {done.failed} that failed left out" if done.failed else ""
    return f"{len(done.figures)} cases recorded in {record}{left_out}"


def report(terminalreporter: pytest.TerminalReporter, done: BaselineOutcome, path: str) -> None:
    """Print how the baseline's cases changed: counts, and the first of each kind."""
    lists: dict[str, Sequence[object]] = {
        **done.changes,
        "new": done.new,
        "vanished": done.vanished,
    }
    counts = ", ".join(f"{len(cases)} {kind}" for kind, cases in lists.items() if cases)
    terminalreporter.line(f"{path}: {done.checked} cases checked" + (counts and f"; {counts}"))
    for kind, cases in lists.items():
        for case in cases[:LISTED]:
            terminalreporter.line(f"{kind:9} {case}")
        if len(cases) > LISTED:
            terminalreporter.line(f"{kind:9} and {len(cases) - LISTED} more")
