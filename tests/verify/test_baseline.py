"""PCC regression: what counts as lost, what the file says, and what a run does with it."""

import dataclasses
import datetime
import json

import pytest

from ttnn_verify import baseline
from ttnn_verify.baseline.__main__ import main as diff_main

from .regression_suite import OTHER_VALUES_EACH_TIME, case

pytest_plugins = ["pytester"]

WAS = baseline.CaseFigures(pcc=0.9999, relative_l2=0.01, worst_row=0.02, ulp=3.0, used=0.5)
PLATFORM = baseline.Platform("emulated", "kernel", "0.81.1")
TODAY = datetime.date(2026, 3, 1)


def now(**changes):
    return dataclasses.replace(WAS, **changes)


def kind(*args, **kwargs):
    change = baseline.judge("case", *args, **kwargs)
    return change and change.kind


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, None),
        ({"pcc": 0.99941}, None),
        ({"pcc": 0.99939}, "lost"),
        ({"relative_l2": 0.0109}, None),
        ({"relative_l2": 0.0112}, "lost"),
        ({"worst_row": 0.0225}, "lost"),
        ({"pcc": None, "relative_l2": 0.0112}, "lost"),
        ({"relative_l2": 0.008, "worst_row": 0.0225}, "lost"),
        ({"relative_l2": 0.008, "used": 0.4}, "rose"),
        ({"used": 0.4}, "widened"),
        ({"used": None}, None),
        ({"ulp": 1e9}, None),
    ],
)
def test_what_is_lost_what_rose_and_whose_tolerance_grew(changes, expected):
    assert kind(WAS, now(**changes)) == expected


def test_a_loss_that_pcc_hides_is_seen():
    was = now(pcc=0.999995, relative_l2=0.003)
    assert kind(was, now(pcc=0.99955, relative_l2=0.03)) == "lost"


def test_noise_of_a_float32_reference_is_no_loss():
    was = now(pcc=1.0, relative_l2=0.0, worst_row=2e-8)
    assert kind(was, dataclasses.replace(was, relative_l2=5e-8, worst_row=4e-7)) is None


def test_equal_bits_no_longer_asked_for_is_a_wider_tolerance():
    was = now(relative_l2=0.0, worst_row=0.0, used=None)
    assert kind(was, dataclasses.replace(was, used=0.0)) == "widened"


def test_a_line_has_both_figures():
    change = baseline.judge("case", WAS, now(pcc=0.99, relative_l2=0.14))
    assert str(change) == (
        "case: PCC 0.99, the baseline has 0.9999; relative L2 0.14, the baseline has 0.01"
    )


def test_the_figure_that_is_lost_comes_first():
    change = baseline.judge("case", WAS, now(pcc=0.9998, relative_l2=0.014))
    assert str(change) == (
        "case: relative L2 0.014, the baseline has 0.01; PCC 0.9998, the baseline has 0.9999"
    )


def test_a_relaxation_of_one_figure_leaves_the_others_as_they_are():
    eased = {"pcc": 0.9991, "relative_l2": 0.043}
    worse = now(pcc=0.9992, relative_l2=0.04)
    for figures, expected in (({"pcc": 0.9991}, "lost"), (eased, "relaxed")):
        relaxation = baseline.Relaxation("LoFi", TODAY, **figures)
        assert kind(WAS, worse, relaxation=relaxation, today=TODAY) == expected


def test_a_relaxation_holds_to_its_last_day_and_its_figure():
    eased = baseline.Relaxation("kernel of 0.82", TODAY, pcc=0.99)
    day = datetime.timedelta(days=1)
    assert kind(WAS, now(pcc=0.995), relaxation=eased, today=TODAY) == "relaxed"
    assert kind(WAS, now(pcc=0.98), relaxation=eased, today=TODAY) == "lost"
    assert kind(WAS, now(pcc=0.995, worst_row=1.0), relaxation=eased, today=TODAY) == "lost"
    assert kind(WAS, now(pcc=0.995), relaxation=eased, today=TODAY + day) == "expired"
    assert kind(WAS, WAS, relaxation=eased, today=TODAY + day) == "expired"


def test_names_are_the_tests_and_what_they_do_not_say():
    entries = [{"case": name} for name in ("a-b", "a-b output 1", "k", "k")]
    names = baseline.names("t.py::test[a-b]", entries)
    assert names == [
        "t.py::test[a-b]",
        "t.py::test[a-b] | output 1",
        "t.py::test[a-b] | k",
        "t.py::test[a-b] | k #2",
    ]
    assert {baseline.node(name) for name in names} == {"t.py::test[a-b]"}


def saved(tmp_path, **changes):
    path = tmp_path / "baseline.json"
    fields = {"platform": PLATFORM, "cases": {"b": WAS, "a": now(pcc=None, used=None)}} | changes
    baseline.save(path, baseline.Baseline(**fields))
    return path


def test_a_file_is_sorted_has_a_line_a_case_and_comes_back_as_it_was(tmp_path):
    eased = {"a": baseline.Relaxation("why", TODAY, relative_l2=0.5)}
    path = saved(tmp_path, relaxed=eased)
    lines = path.read_text().splitlines()
    assert [line[:3] for line in lines if line.startswith(('"a"', '"b"'))] == ['"a"', '"b"', '"a"']
    loaded = baseline.load(path)
    assert loaded.platform == PLATFORM
    assert loaded.relaxed == eased
    assert loaded.cases == {"b": WAS, "a": now(pcc=None, used=None)}
    assert list(tmp_path.iterdir()) == [path], "a temporary file is left"


@pytest.mark.parametrize(
    ("relaxation", "says"),
    [
        ({"until": "2026-03-01", "pcc": 0.9}, 'needs a "reason"'),
        ({"reason": " ", "until": "2026-03-01", "pcc": 0.9}, 'needs a "reason"'),
        ({"reason": "why", "pcc": 0.9}, '"until"'),
        ({"reason": "why", "until": "2026-03-01"}, "says no figure"),
        ({"reason": "why", "until": "soon", "pcc": 0.9}, "soon"),
        ({"reason": "why", "until": "2026-03-01", "pccc": 0.9, "pcc": 0.9}, "pccc"),
    ],
)
def test_a_relaxation_without_reason_day_or_figure_is_refused(tmp_path, relaxation, says):
    path = saved(tmp_path)
    data = json.loads(path.read_text()) | {"relaxed": {"a": relaxation}}
    path.write_text(json.dumps(data))
    with pytest.raises(baseline.BaselineError, match=says):
        baseline.load(path)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"platform": 1}', '{"platform": {}, "cases": {}, "relaxed": {}}']
)
def test_a_file_that_is_no_baseline_is_refused(tmp_path, text):
    path = tmp_path / "baseline.json"
    path.write_text(text)
    with pytest.raises(baseline.BaselineError, match="write one with --pcc-record"):
        baseline.load(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{}", 'it has no "platform" and no "cases" and no "relaxed";'),
        ('{"cases": {}, "relaxed": {}}', 'it has no "platform";'),
        ('{"platform": {}, "cases": [], "relaxed": {}}', 'its "cases" is no table;'),
        ('{"platform": {"ttnn": "1"}, "cases": {}, "relaxed": {}}', 'has no "backend";'),
    ],
)
def test_what_a_file_lacks_is_named_in_words(tmp_path, text, says):
    path = tmp_path / "baseline.json"
    path.write_text(text)
    with pytest.raises(baseline.BaselineError) as error:
        baseline.load(path)
    assert says in str(error.value)
    assert "Error" not in str(error.value)


def test_a_relaxation_of_no_case_is_refused(tmp_path):
    path = saved(tmp_path, relaxed={"c": baseline.Relaxation("why", TODAY, pcc=0.9)})
    with pytest.raises(baseline.BaselineError, match="'c', which is none of its cases"):
        baseline.load(path)


def test_diff_says_what_differs(tmp_path, capsys):
    a = saved(tmp_path).rename(tmp_path / "a.json")
    b = saved(tmp_path, cases={"b": now(pcc=0.9), "c": WAS})
    assert diff_main(["diff", str(a), str(b)]) == 1
    out = capsys.readouterr().out
    assert "vanished  a\n" in out
    assert "new       c\n" in out
    assert "lost      b: PCC 0.9, the baseline has 0.9999\n" in out
    assert diff_main(["diff", str(a), str(a)]) == 0
    assert diff_main(["diff", str(a), str(tmp_path / "none.json")]) == 2


GOOD = {"add-1": {}, "add-2": {}, "mul-1": {}}


def test_a_run_equals_its_own_record(suite):
    suite.run(GOOD, "--pcc-record", "was.json").assert_outcomes(passed=4)
    cases = suite.json("was.json")["cases"]
    assert list(cases) == [case(name) for name in GOOD]
    assert cases[case("add-1")]["pcc"] == 0.9999
    result = suite.run(GOOD, "--pcc-check", "was.json", "--pcc-record", "again.json")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["PCC baseline: was.json, 3 cases", "was.json: 3 cases checked"])
    assert suite.json("was.json") == suite.json("again.json")


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "workers"])
def test_a_loss_within_the_tolerance_fails_with_both_figures_in_a_line(suite, workers):
    suite.run(GOOD, "--pcc-record", "was.json")
    worse = GOOD | {"add-2": {"pcc": 0.999, "relative_l2": 0.04}, "mul-1": {"relative_l2": 0.005}}
    xml = ["--junit-xml", "junit.xml"]
    result = suite.run({**worse, "new-1": {}}, "--pcc-check", "was.json", *workers, *xml)
    result.assert_outcomes(passed=4, failed=1)
    loss = "PCC 0.999, the baseline has 0.9999; relative L2 0.04, the baseline has 0.01"
    result.stdout.fnmatch_lines(
        [
            "was.json: 3 cases checked; 1 lost, 1 rose, 1 new",
            f"lost *test_op*add-2*: {loss}",
            "rose *test_op*mul-1*: relative L2 0.005, the baseline has 0.01",
            "new *test_op*new-1*",
            "FAILED tests/ops/test_ops.py::test_op?add-2?",
            "  add-2: PCC 0.999, the baseline has 0.9999; *",
        ]
    )
    text = (suite.path / "junit.xml").read_text()
    assert '<property name="PCC" value="0.999000000" />' in text
    assert f"add-2: {loss} (worse than the baseline)" in text


def test_a_test_of_other_values_each_time_is_in_no_baseline(suite):
    suite.add("test_other.py", OTHER_VALUES_EACH_TIME)
    suite.run(GOOD, "--pcc-record", "was.json").assert_outcomes(passed=5)
    assert list(suite.json("was.json")["cases"]) == [case(name) for name in GOOD]


def test_the_slack_is_an_option(suite):
    suite.run(GOOD, "--pcc-record", "was.json")
    worse = GOOD | {"add-2": {"pcc": 0.999, "relative_l2": 0.04}}
    slacks = ("--pcc-slack", "0.01", "--pcc-error-slack", "4")
    suite.run(worse, "--pcc-check", "was.json", *slacks).assert_outcomes(passed=4)


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "workers"])
def test_only_what_the_run_was_to_hold_has_vanished(suite, workers):
    suite.run(GOOD, "--pcc-record", "was.json")
    remaining = {"add-1": {}, "add-2": {}}
    result = suite.run(remaining, "--pcc-check", "was.json", *workers)
    result.stdout.fnmatch_lines(["was.json: 2 cases checked; 1 vanished", "vanished *mul-1?"])
    selected = [["-k", "add-1"]]
    if not workers:
        selected.append(["tests/ops/test_ops.py::test_without_comparisons"])
        selected.append(["--deselect", case("mul-1")])
    for selection in selected:
        result = suite.run(GOOD, "--pcc-check", "was.json", *selection, *workers)
        result.stdout.fnmatch_lines(["was.json: ? cases checked"])
        result.stdout.no_fnmatch_line("vanished *")


def test_update_writes_what_rose_and_is_new_and_nothing_worse(suite):
    suite.run(GOOD, "--pcc-record", "was.json")
    figures = {"add-1": {"relative_l2": 0.005}, "add-2": {"pcc": 0.99}, "new-1": {}}
    suite.run(figures, "--pcc-check", "was.json", "--pcc-update").assert_outcomes(
        passed=3, failed=1
    )
    cases = suite.json("was.json")["cases"]
    assert list(cases) == [case(name) for name in ("add-1", "add-2", "new-1")]
    assert cases[case("add-1")]["relative_l2"] == 0.005
    assert cases[case("add-2")]["pcc"] == 0.9999


def test_what_failed_its_tolerance_is_not_recorded(suite):
    result = suite.run(GOOD | {"add-2": {"passed": False}}, "--pcc-record", "was.json")
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["2 cases recorded in was.json; 1 that failed left out"])
    assert case("add-2") not in suite.json("was.json")["cases"]


def test_an_expired_relaxation_fails_its_case(suite):
    suite.run(GOOD, "--pcc-record", "was.json")
    record = suite.json("was.json")
    reason = {"reason": "a kernel of 0.81", "pcc": 0.9, "until": "2020-01-31"}
    record["relaxed"] = {case("add-1"): reason}
    (suite.path / "was.json").write_text(json.dumps(record))
    result = suite.run(GOOD, "--pcc-check", "was.json")
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["*add-1*relaxed until 2020-01-31 (a kernel of 0.81)*passed*"])


@pytest.mark.parametrize(
    ("changes", "args", "says"),
    [
        ({"backend": "silicon", "arithmetic": None}, [], "*is of silicon, ttnn*emulated, kernel*"),
        ({"arithmetic": "rounded"}, [], "*is of emulated, rounded*this run is on*kernel*"),
        ({"ttnn": "0.1"}, [], "*ttnn 0.1; this run*"),
        ({}, ["--arithmetic", "rounded"], "*is of emulated, kernel*this run is on*rounded*"),
    ],
)
def test_a_baseline_of_another_platform_is_refused(suite, changes, args, says):
    suite.run(GOOD, "--pcc-record", "was.json")
    record = suite.json("was.json")
    record["platform"] |= changes
    (suite.path / "was.json").write_text(json.dumps(record))
    result = suite.run(GOOD, "--pcc-check", "was.json", *args)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: baseline {says}"])


def test_of_a_folder_the_file_of_the_platform_is_taken(suite):
    folder = suite.path / "baselines"
    suite.run(GOOD, "--pcc-record", "baselines/emulated-kernel.json")
    result = suite.run(GOOD, "--pcc-check", str(folder))
    result.stdout.fnmatch_lines(["PCC baseline: baselines/emulated-kernel.json, 3 cases"])
    result = suite.run(GOOD, "--pcc-check", str(folder), "--arithmetic", "rounded")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["PCC baseline: none, *no emulated-rounded.json*"])


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--pcc-update"], "*--pcc-update writes into the file of --pcc-check*"),
        (["--pcc-check", "none.json"], "*baseline *none.json: No such file*"),
        (["--pcc-slack", "-1"], "*'-1' is not a loss*"),
    ],
)
def test_options_that_make_no_sense_are_refused(suite, args, says):
    result = suite.run(GOOD, *args)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([says])
