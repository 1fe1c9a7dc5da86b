"""The pytest plugin of failures that one can read: short, the verdict first, whole at 80 columns.

A stack is shown without the arguments and the sources of its functions, which print models and
tensors; `--tb=long` and the other styles of pytest bring them back. A comparison that failed shows
its message, whose first line is the verdict, and the line of the test that made it. At the end of
the run each failure has its id and its first line, below the id where a line has no room for both.
"""

import textwrap
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from ttnn_verify.pytest_plugins import outcomes

STYLES = ("auto", "short")  # of a stack, that leave it to this plugin how a comparison is shown

MOST_LINES = 3  # of a failure's first line at the end of the run

_RAISED = ("AssertionError: ", "Failed: ")  # said by the word before the id


def pytest_configure(config: pytest.Config) -> None:
    if config.option.tbstyle == "auto":
        config.option.tbstyle = "short"
    config.pluginmanager.register(_AfterOthers(), "verify-failures")


def pytest_sessionfinish(session: pytest.Session) -> None:
    session.config.add_cleanup(lambda: forget_tests(session))


def forget_tests(session: pytest.Session) -> None:
    """Let go of all tests of a session that is over, those that it left out included.

    The modules of pytest's plugins keep the session until the process ends, it keeps the tests, and
    they their parameters. Of each that is an object of TTNN's nanobind would say that it leaks.
    """
    session.items.clear()
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.stats.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A comparison that failed is shown by its own message and the line of the test."""
    report = yield
    if report.failed and call.excinfo and item.config.option.tbstyle in STYLES:
        text = _of_comparison(item, call.excinfo)
        report.longrepr = text or report.longrepr
    return report


def _of_comparison(item: pytest.Item, failure: pytest.ExceptionInfo[BaseException]) -> str:
    """What is shown of a comparison's failure; "" of another one."""
    from ttnn_verify.numerics import tolerance  # torch, which it imports, is slow

    if not isinstance(failure.value, tolerance.ComparisonFailed):
        return ""
    seen = failure.traceback.filter(failure)[-1]
    place = outcomes.relative(seen.path, item.config)
    notes = getattr(failure.value, "__notes__", ())  # hypothesis's, of the values that it tried
    return "\n".join([str(failure.value), f"  at {place}:{seen.lineno + 1}, {seen.name}", *notes])


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What follows is pytest's own short summary: of failures it would cut the verdict off."""
    chars = terminalreporter.reportchars
    terminalreporter.reportchars = "".join(c for c in chars if c not in "fE")


class _AfterOthers:
    """What is printed last of all."""

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> Iterator[Any]:
        asked = terminalreporter.reportchars
        result = yield
        terminalreporter.reportchars = asked
        kinds = {"FAILED": ("f", "failed"), "ERROR": ("E", "error")}
        lines = [
            line
            for word, (char, outcome) in kinds.items()
            if char in asked
            for report in terminalreporter.stats.get(outcome, ())
            for line in summarised(word, report, terminalreporter)
        ]
        if lines:
            terminalreporter.section("failed", red=True, bold=True)
        for line in lines:
            terminalreporter.line(line)
        return result


def summarised(word: str, report: Any, terminalreporter: pytest.TerminalReporter) -> list[str]:
    """The id of a failed test and the first line of its failure, in lines of the terminal's width.

    Args:
        report: of a test, or of a file that could not be collected.
    """
    width = terminalreporter._tw.fullwidth
    named = f"{word} {terminalreporter.config.cwd_relative_nodeid(report.nodeid)}"
    first = outcomes.first_line(report)
    for raised in _RAISED:
        first = first.removeprefix(raised)
    if not first:
        return [named]
    if len(named) + len(first) + 3 <= width:
        return [f"{named} - {first}"]
    below = textwrap.wrap(first, width - 2, max_lines=MOST_LINES, placeholder=" ...")
    return [named, *(f"  {line}" for line in below)]
