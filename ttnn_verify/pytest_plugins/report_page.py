"""The pytest plugin of the report: --report FILE.html writes the page when the run ends."""

import pathlib

import pytest

from ttnn_verify import atomic
from ttnn_verify.report import content


def pytest_addoption(parser):
    group = parser.getgroup("report", "the run as a page")
    group.addoption("--report", metavar="FILE.html", help="write the run as one HTML page")
    group.addoption(
        "--report-drift",
        metavar="FILE.json",
        help="a file of `python -m ttnn_verify.drift --json` to show in the page",
    )


def pytest_configure(config):
    option = config.option
    if option.report_drift and not option.report:
        raise pytest.UsageError("--report-drift adds to the page of --report; name it.")
    try:
        drift(config)  # now, since a run is long
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error


def drift(config):
    """The `content.Drift` of --report-drift, None without."""
    path = config.option.report_drift
    return path and content.drift(pathlib.Path(config.invocation_params.dir) / path)


@pytest.hookimpl(trylast=True)  # --pcc-update has written by then
def pytest_terminal_summary(terminalreporter, exitstatus, config):
    if not config.option.report:
        return
    from ttnn_verify.report import page  # matplotlib is slow to import

    path = pathlib.Path(config.invocation_params.dir) / config.option.report
    atomic.write_text(path, page.render(config, int(exitstatus), drift(config)))
    terminalreporter.line(f"report: {config.option.report}")
