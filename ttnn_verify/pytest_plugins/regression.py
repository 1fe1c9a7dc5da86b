"""The pytest plugin of PCC regression: --pcc-record, --pcc-check, --pcc-update, and what they report.

A test whose comparison passed its tolerance and lost against its baseline fails there and then, on
whichever worker; the run's end lists what rose, is new, has vanished or is relaxed.
"""

import pathlib

import pytest

from ttnn_verify import baseline
from ttnn_verify.pytest_plugins import comparisons, device, outcomes

CHECKED = pytest.StashKey["Check"]()

LISTED = 20  # lines of a kind that a run's end prints


class Check:
    """A baseline that a run is checked against, and where it stands."""

    def __init__(self, path, limits, kept):
        self.path = path
        self.limits = limits
        self.baseline = kept

    def findings(self, nodeid, entries):
        """A `baseline.Finding` for each of a test's passed comparisons that has one."""
        for case, entry in zip(baseline.names(nodeid, entries), entries, strict=True):
            was = self.baseline.cases.get(case)
            if was and entry["passed"]:
                relaxation = self.baseline.relaxed.get(case)
                now = baseline.Figures.of(entry)
                found = baseline.judge(case, was, now, self.limits, relaxation)
                if found:
                    yield found


def pytest_addoption(parser):
    group = parser.getgroup("pcc", "PCC regression")
    group.addoption("--pcc-record", metavar="FILE", help="write the figures of all comparisons")
    group.addoption(
        "--pcc-check",
        metavar="FILE",
        help="fail a test whose figures are worse than in this file of --pcc-record; of a folder, than "
        "in its file of the run's backend and arithmetic, if it has one",
    )
    group.addoption(
        "--pcc-update",
        action="store_true",
        help="write into --pcc-check's file what rose and is new; take out what has vanished",
    )
    group.addoption(
        "--pcc-slack",
        metavar="LOSS",
        type=float,
        default=baseline.PCC_SLACK,
        help="PCC that a case may lose (default %(default)s)",
    )
    group.addoption(
        "--pcc-error-slack",
        metavar="SHARE",
        type=float,
        default=baseline.ERROR_SLACK,
        help="share by which relative L2 may rise, of the whole and of the worst row, since PCC near 1 "
        "hides much (default %(default)s)",
    )


@pytest.hookimpl(trylast=True)  # the backend is picked by then
def pytest_configure(config):
    config.stash[CHECKED] = None
    option = config.option
    if option.pcc_update and not option.pcc_check:
        raise pytest.UsageError("--pcc-update writes into the file of --pcc-check; name it.")
    if min(option.pcc_slack, option.pcc_error_slack) < 0:
        raise pytest.UsageError("--pcc-slack and --pcc-error-slack are losses, 0 or more.")
    if not option.pcc_check:
        return
    platform = platform_of(config)
    path = pathlib.Path(config.invocation_params.dir) / option.pcc_check
    if path.is_dir():
        path /= platform.file_name
        if not path.exists():
            return
    try:
        kept = baseline.load(path)
        baseline.check_platform(kept, path, platform)
    except baseline.BaselineError as error:
        raise pytest.UsageError(str(error)) from error
    limits = baseline.Limits(option.pcc_slack, option.pcc_error_slack)
    config.stash[CHECKED] = Check(path, limits, kept)


def platform_of(config):
    return baseline.Platform.of(config.stash[device.BACKEND], config.stash[device.ARITHMETIC])


def pytest_report_header(config):
    check = config.stash[CHECKED]
    if check:
        named = outcomes.relative(check.path, config)
        return f"PCC baseline: {named}, {len(check.baseline.cases)} cases"
    if config.option.pcc_check:
        return (
            f"PCC baseline: none, {config.option.pcc_check} has no {platform_of(config).file_name}; "
            "nothing is checked"
        )
    return None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    result = yield
    check = item.config.stash[CHECKED]
    if check and not item.get_closest_marker("hypothesis"):
        entries = [value for name, value in item.user_properties if name == comparisons.PROPERTY]
        failed = [found for found in check.findings(item.nodeid, entries) if found.failed]
        if failed:
            lines = [f"{found.line} (PCC regression, {found.case})" for found in failed]
            pytest.fail("\n".join(lines), pytrace=False)
    return result


class Outcome:
    """What a run came to beside its baseline; without one only its figures.

    Attributes:
        figures: case -> `baseline.Figures` of the comparisons that passed and that repeat.
        failed: how many comparisons did not pass their tolerance.
        found: the findings by kind.
        new: cases that the baseline lacks.
        vanished: its cases that the run was to hold and did not.
        checked: how many cases both have.
    """

    def __init__(self, done, check):
        self.figures, self.failed = {}, 0
        self.found = {kind: [] for kind in baseline.KINDS}
        self.new, self.vanished, self.checked = [], [], 0
        seen = set()
        for result in done.tests.values():
            if not result.reproducible:
                continue
            cases = baseline.names(result.nodeid, result.entries)
            for case, entry in zip(cases, result.entries, strict=True):
                seen.add(case)
                if entry["passed"]:
                    self.figures[case] = baseline.Figures.of(entry)
                else:
                    self.failed += 1
            if check:
                for finding in check.findings(result.nodeid, result.entries):
                    self.found[finding.kind].append(finding)
        if not check:
            return
        known = check.baseline.cases.keys()
        self.new = sorted(self.figures.keys() - known)
        self.checked = len(self.figures.keys() & known)
        self.vanished = sorted(case for case in known - seen if gone(done, baseline.node(case)))


def gone(done, nodeid):
    """Whether a test that recorded a case has gone: it does not exist, passed without it, or skipped."""
    result = done.tests.get(nodeid)
    if result:
        return result.outcome in ("passed", "skipped")
    return done.meant(nodeid) and nodeid not in done.collected


def outcome(config):
    """The `Outcome` of the run, in the process that reports."""
    return Outcome(config.stash[outcomes.RUN], config.stash[CHECKED])


@pytest.hookimpl(trylast=True)  # below the table of comparisons, which is long
def pytest_terminal_summary(terminalreporter, config):
    check, record = config.stash[CHECKED], config.option.pcc_record
    if not check and not record:
        return
    done = outcome(config)
    terminalreporter.section("PCC baseline")
    if check:
        report(terminalreporter, done, outcomes.relative(check.path, config))
        if config.option.pcc_update:
            after = baseline.updated(check.baseline, done.figures, set(done.vanished), check.limits)
            if after != check.baseline:
                baseline.save(check.path, after)
            rose = len(done.found["rose"])
            terminalreporter.line(
                f"written: {rose} that rose, {len(done.new)} new; taken out: {len(done.vanished)}"
            )
    if record:
        path = pathlib.Path(config.invocation_params.dir) / record
        baseline.save(path, baseline.Baseline(platform_of(config), done.figures))
        left_out = f"; {done.failed} that failed left out" if done.failed else ""
        terminalreporter.line(f"{len(done.figures)} cases recorded in {record}{left_out}")


def report(terminalreporter, done, path):
    """Print what became of the baseline's cases: counts, and the first of each kind."""
    lists = {**done.found, "new": done.new, "vanished": done.vanished}
    counts = ", ".join(f"{len(cases)} {kind}" for kind, cases in lists.items() if cases)
    terminalreporter.line(f"{path}: {done.checked} cases checked" + (counts and f"; {counts}"))
    for kind, cases in lists.items():
        for case in cases[:LISTED]:
            terminalreporter.line(f"{kind:9} {case}")
        if len(cases) > LISTED:
            terminalreporter.line(f"{kind:9} and {len(cases) - LISTED} more")
