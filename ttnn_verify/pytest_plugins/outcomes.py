"""What a pytest run was asked for and what came of it: outcomes, times and comparisons of its tests.

Kept in the process that reports, so under xdist in the controller: results come with the tests'
reports, the workers' selections with their end.
"""

import dataclasses
import pathlib
import time

import pytest

from ttnn_verify.pytest_plugins import comparisons

RUN = pytest.StashKey["Run"]()

DESELECTED = "deselected"  # the name under which a worker hands on what it left out


@dataclasses.dataclass
class Result:
    """A test that ran: its outcome, seconds, first line of its failure, and its comparisons.

    outcome is one of pytest's words: passed, failed, error, skipped, xfailed, xpassed.
    reproducible is False for tests that try other values each time (hypothesis).
    """

    nodeid: str
    outcome: str = "passed"
    seconds: float = 0.0
    message: str = ""
    entries: list = dataclasses.field(default_factory=list)
    reproducible: bool = True

    @property
    def file(self):
        return self.nodeid.partition("::")[0]


class Run:
    """A pytest plugin that keeps the run.

    Attributes:
        tests: node id -> `Result` of every test that ran.
        collected: the node ids that were selected to run.
        started: when, in seconds since the epoch.
    """

    def __init__(self, config):
        self.tests = {}
        self.started = time.time()
        self._config = config
        self.collected = set()
        self._deselected = set()

    @property
    def comparisons(self):
        """(test, entry) of every comparison."""
        return [(test, entry) for test in self.tests.values() for entry in test.entries]

    def meant(self, nodeid):
        """Whether the run was to hold the test, had it been there: not if it was left out."""
        option = self._config.option
        if nodeid in self.collected:
            return True
        if nodeid in self._deselected or getattr(option, "lf", False) or option.ignore_glob:
            return False
        if any(_within(nodeid, self._place(path)) for path in option.ignore or ()):
            return False
        return any(_within(nodeid, self._place(arg)) for arg in self._config.args)

    def _place(self, arg):
        """An argument of the command line, a path with or without `::name`, as node ids begin."""
        path, *names = str(arg).split("::")
        path = (self._config.invocation_params.dir / path).resolve()
        root = self._config.rootpath.resolve()
        inside = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
        if root.is_relative_to(path):
            inside = ""
        return "::".join([inside, *names])

    def pytest_collection_finish(self, session):
        self.collected.update(item.nodeid for item in session.items)

    def pytest_deselected(self, items):
        self._deselected.update(item.nodeid for item in items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids):
        self.collected.update(ids)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node):
        self._deselected.update((getattr(node, "workeroutput", None) or {}).get(DESELECTED, ()))

    def pytest_runtest_logreport(self, report):
        test = self.tests.setdefault(report.nodeid, Result(report.nodeid))
        test.seconds += report.duration
        outcome = _outcome(report)
        if outcome:
            test.outcome = outcome
            test.message = _message(report)
        if report.when == "call":
            test.entries = comparisons.comparisons(report)
            test.reproducible = "hypothesis" not in report.keywords


def _outcome(report):
    """What a report makes of its test, None if it says nothing new."""
    if hasattr(report, "wasxfail"):
        return {"skipped": "xfailed", "passed": "xpassed"}.get(report.outcome)
    if report.outcome == "failed":
        return "failed" if report.when in ("call", "???") else "error"
    return "skipped" if report.outcome == "skipped" else None


def _message(report):
    """The first line that says why."""
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash:
        text = crash.message
    elif isinstance(report.longrepr, tuple):  # a skip: (file, line, reason)
        text = report.longrepr[2]
    else:
        text = str(report.longrepr or "")
    return text.strip().partition("\n")[0]


def _within(nodeid, place):
    """Whether a node id is the place's own or lies below it."""
    return (
        nodeid == place or not place or nodeid.startswith((f"{place}/", f"{place}::", f"{place}["))
    )


class _Worker:
    """In an xdist worker: hands on what was left out, which the controller does not see."""

    def __init__(self):
        self._deselected = []

    def pytest_deselected(self, items):
        self._deselected += [item.nodeid for item in items]

    def pytest_sessionfinish(self, session):
        session.config.workeroutput[DESELECTED] = self._deselected


def pytest_configure(config):
    if hasattr(config, "workerinput"):
        config.pluginmanager.register(_Worker(), "verify-worker")
        return
    config.stash[RUN] = Run(config)
    config.pluginmanager.register(config.stash[RUN], "verify-run")


def relative(path, config):
    """A path as messages name it: from the folder of the tests if it is below it."""
    path, root = pathlib.Path(path).resolve(), config.rootpath.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
