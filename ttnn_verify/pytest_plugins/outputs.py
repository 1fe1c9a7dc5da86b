"""The pytest plugin that looks at the files of a run's results before the run.

--report, --pcc-record, --pcc-update's baseline and pytest's --junit-xml: one that cannot be written
ends pytest with a usage error, not the run's summary with a traceback.
"""

import pathlib

import pytest

from ttnn_verify.files import output_paths

# Option of the command line -> its name among pytest's options.
FILES = {"--report": "report", "--pcc-record": "pcc_record", "--junit-xml": "xmlpath"}


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        return  # its controller writes
    option = config.option
    files = {name: getattr(option, field, None) for name, field in FILES.items()}
    given = {name: str(file) for name, file in files.items() if file is not None}
    for name, file in given.items():
        check(config, name, file)
    twice = [name for name, file in given.items() if list(given.values()).count(file) > 1]
    if twice:
        raise pytest.UsageError(f"{' and '.join(twice)} name the same file, {given[twice[0]]!r}.")
    baseline = getattr(option, "pcc_check", None)
    if getattr(option, "pcc_update", False) and baseline and not pathlib.Path(baseline).is_dir():
        check(config, "--pcc-update", baseline)


def check(config: pytest.Config, option: str, file: str) -> None:
    """Raises UsageError where an option's file cannot be written."""
    reason = output_paths.unwritable(config.invocation_params.dir / file if file else file, True)
    if reason:
        raise pytest.UsageError(f"{option}: {reason}")


def not_written(config: pytest.Config, reporter: pytest.TerminalReporter, error: OSError) -> None:
    """Say in the summary that a file could not be written after all, and end with an error."""
    reporter.line(f"not written: {error.filename!r}: {error.strerror}.", red=True)
    session = config.pluginmanager.get_plugin("session")
    if isinstance(session, pytest.Session) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
