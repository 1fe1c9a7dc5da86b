"""The pytest plugin that records which tests a run selected, and their outcomes.

The record is in the reporting process, under xdist the controller: results come with the tests'
reports, the workers' selections when they finish.
"""

import dataclasses
import pathlib
import time
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from ttnn_verify.pytest_plugins import comparisons
from ttnn_verify.pytest_plugins.keys import RUN

DESELECTED = "deselected"  # the key under which a worker reports the tests it deselected


@dataclasses.dataclass
class NodeResult:
    """A test that ran: its outcome, seconds, first line of its failure, and its comparisons.

    outcome is one of pytest's words: passed, failed, error, skipped, xfailed, xpassed.
    reproducible is False for tests that try other values each time (hypothesis).
    """

    nodeid: str
    outcome: str = "passed"
    seconds: float = 0.0
    message: str = ""
    entries: list[comparisons.ComparisonEntry] = dataclasses.field(default_factory=list)
    reproducible: bool = True

    @property
    def file(self) -> str:
        return self.nodeid.partition("::")[0]


class RunRecord:
    """The run, registered with pytest to see its reports.

    Attributes:
        tests: node id -> `NodeResult` of every test that ran.
        collected, deselected: the node ids that were selected to run, and the others.
        started: when, in seconds since the epoch.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.tests: dict[str, NodeResult] = {}
        self.started = time.time()
        self.collected: set[str] = set()
        self._config = config
        self.deselected: set[str] = set()

    def is_selected(self, nodeid: str) -> bool:
        """Whether the command line selects the test, if it exists: not if it was deselected."""
        option = self._config.option
        if nodeid in self.collected:
            return True
        if nodeid in self.deselected or getattr(option, "lf", False) or option.ignore_glob:
            return False
        if any(_within(nodeid, self._place(path)) for path in option.ignore or ()):
            return False
        args = self._config.args
        if option.pyargs and any(_within_module(nodeid, arg) for arg in args):
            return True
        return any(_within(nodeid, self._place(arg)) for arg in args)

    def _place(self, arg: object) -> str:
        """An argument of the command line, a path with or without `::name`, as node ids begin."""
        file, *names = str(arg).split("::")
        path = (self._config.invocation_params.dir / file).resolve()
        root = self._config.rootpath.resolve()
        inside = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
        if root.is_relative_to(path):
            inside = ""
        return "::".join([inside, *names])

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.collected.update(item.nodeid for item in session.items)

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        self.deselected.update(item.nodeid for item in items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Iterable[str]) -> None:
        self.collected.update(ids)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:  # xdist's controller of a worker
        self.deselected.update((getattr(node, "workeroutput", None) or {}).get(DESELECTED, ()))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        test = self.tests.setdefault(report.nodeid, NodeResult(report.nodeid))
        test.seconds += report.duration
        outcome = _outcome(report)
        if outcome:
            test.outcome = outcome
            test.message = first_line(report)
        if report.when == "call":
            test.entries = comparisons.comparisons(report)
            test.reproducible = "hypothesis" not in report.keywords


def _outcome(report: pytest.TestReport) -> str | None:
    """The outcome in a test's report, None if it adds nothing."""
    if hasattr(report, "wasxfail"):
        return {"skipped": "xfailed", "passed": "xpassed"}.get(report.outcome)
    if report.outcome == "failed":
        return "failed" if report.when in ("call", "???") else "error"
    return "skipped" if report.outcome == "skipped" else None


def first_line(report: Any) -> str:
    """The first line of the reason for the outcome of a test, or of a file's collection."""
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash:
        text = crash.message.removeprefix("Failed: ")  # the name of what `pytest.fail` raises
    elif isinstance(report.longrepr, tuple):  # a skip: (file, line, reason)
        text = report.longrepr[2]
    else:
        text = str(report.longrepr or "")
    return text.strip().partition("\n")[0]


def _within(nodeid: str, place: str) -> bool:
    """Whether a node id equals the place or lies below it."""
    return (
        nodeid == place or not place or nodeid.startswith((f"{place}/", f"{place}::", f"{place}["))
    )


def _within_module(nodeid: str, name: str) -> bool:
    """Whether a node id begins with a module's name, as those of `ttnn_verify.suite` do."""
    return _within(nodeid, name) or nodeid.startswith(f"{name}.")


class _Worker:
    """In an xdist worker: reports deselected tests, which the controller does not see."""

    def __init__(self) -> None:
        self._deselected: list[str] = []

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        self._deselected += [item.nodeid for item in items]

    def pytest_sessionfinish(self, session: Any) -> None:  # xdist adds to its config
        session.config.workeroutput[DESELECTED] = self._deselected


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        config.pluginmanager.register(_Worker(), "verify-worker")
        return
    config.stash[RUN] = RunRecord(config)
    config.pluginmanager.register(config.stash[RUN], "verify-run")


def relative(path: str | pathlib.Path, config: pytest.Config) -> str:
    """A path for messages: relative to pytest's root folder if it lies below it."""
    path, root = pathlib.Path(path).resolve(), config.rootpath.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
