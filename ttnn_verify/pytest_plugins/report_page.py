"""The pytest plugin of the report: --report FILE.html writes the page when the run ends."""

import pathlib

import pytest

from ttnn_verify.files import atomic
from ttnn_verify.pytest_plugins import device as devices
from ttnn_verify.pytest_plugins import outcomes, outputs, regression
from ttnn_verify.pytest_plugins.keys import CHECKED, RUN
from ttnn_verify.report.drift import drift_record


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("report", "the run as a page")
    group.addoption("--report", metavar="FILE.html", help="write the run as one HTML page")
    group.addoption(
        "--report-drift",
        metavar="FILE.json",
        help="a file of `python -m ttnn_verify.drift --json` to show in the page",
    )


def pytest_configure(config: pytest.Config) -> None:
    option = config.option
    if option.report_drift and not option.report:
        raise pytest.UsageError("--report-drift adds to the page of --report; name it.")
    try:
        drift(config)  # now, since a run is long
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error


def drift(config: pytest.Config) -> drift_record.DriftRecord | None:
    """The record of --report-drift, None without."""
    path = config.option.report_drift
    if not path:
        return None
    return drift_record.load(pathlib.Path(config.invocation_params.dir) / path)


@pytest.hookimpl(trylast=True)  # --pcc-update has written by then
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config
) -> None:
    if not config.option.report:
        return
    from ttnn_verify.report import run_page  # matplotlib is slow to import

    run, check = config.stash[RUN], config.stash[CHECKED]
    checked = None
    if check and exitstatus != pytest.ExitCode.INTERRUPTED:  # most cases were not come to
        checked = run_page.CheckedBaseline(
            outcomes.relative(check.path, config),
            check.accepted,
            check.limits,
            regression.outcome(config),
        )
    summary = run_page.RunSummary(
        passed=exitstatus == 0,
        backend=devices.described(config),
        command=" ".join(["pytest", *map(str, config.invocation_params.args)]),
        root=config.rootpath,
        started=run.started,
        results=tuple(run.tests.values()),
        checked=checked,
        drift=drift(config),
    )
    path = pathlib.Path(config.invocation_params.dir) / config.option.report
    page = run_page.render(summary)
    try:
        atomic.write_text(path, page)
    except OSError as error:
        outputs.not_written(config, terminalreporter, error)
        return
    terminalreporter.line(f"report: {config.option.report}")
