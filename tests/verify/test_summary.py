"""The end-of-run table: what each op's comparisons came to, xdist's workers included."""

import pathlib

import pytest
import torch

from ttnn_verify.numerics import metrics, op_floors, tolerance
from ttnn_verify.pytest_plugins import comparisons

pytest_plugins = ["pytester"]

ROOT = pathlib.Path(__file__).parents[2]


def entry(op="add", used=0.5, pcc=0.999, ulp=1.0, passed=True):
    case = f"{op}-{used}"
    return {"op": op, "case": case, "passed": passed, "pcc": pcc, "ulp": ulp, "used": used}


def test_a_line_has_the_worst_of_its_cases():
    (line,) = comparisons.summaries(
        [entry(used=0.3, pcc=0.9, ulp=2.0), entry(used=0.6, pcc=0.99, ulp=7.0, passed=False)]
    )
    assert (line.cases, line.failed, line.pcc, line.ulp, line.used) == (2, 1, 0.9, 7.0, 0.6)


def test_figures_that_a_case_does_not_have_are_left_out():
    first, second = comparisons.summaries(
        [
            entry("slice", used=None, pcc=None, ulp=None),
            entry("exp", pcc=None),
            entry("exp", pcc=0.7),
        ]
    )
    assert (first.pcc, first.ulp, first.used) == (None, None, None)
    assert "exact" in str(first)
    assert second.pcc == 0.7


def test_every_line_fits_80_columns():
    assert len(comparisons.HEADER) < 80
    long = "ops.transformer.an_operation_with_an_uncommonly_long_name"
    cases = [entry(op, used=123.0, ulp=1e9, passed=False) for op in ("layers.MLP.down", long)]
    short, below = map(str, comparisons.summaries(cases))
    assert len(short) == len(comparisons.HEADER)
    name, figures = below.splitlines()
    assert (name, figures[: comparisons.NAME_WIDTH].strip()) == (long, "")
    assert len(figures) == len(comparisons.HEADER)


@pytest.mark.parametrize(
    ("used", "is_listed"), [(0.0, True), (0.019, True), (0.02, False), (0.9, False), (0.901, True)]
)
def test_cases_at_an_end_of_their_tolerance_are_told(used, is_listed):
    assert (comparisons.at_an_end([entry(used=used)]) != []) is is_listed


def test_failed_and_exact_cases_are_not_at_an_end():
    assert comparisons.at_an_end([entry(used=2.0, passed=False), entry(used=None)]) == []


def test_an_entry_carries_what_was_judged():
    exact = torch.randn(4, 32, dtype=torch.float64)
    comparison = metrics.compare(exact, exact.bfloat16(), dtype="bfloat16")
    verdict = tolerance.judge(comparison, op_floors.output(exact))
    name, value = comparisons.entry("add", "add-bf16", comparison, verdict, movement=False)
    assert name == comparisons.PROPERTY
    assert value["pcc"] == comparison.pcc
    assert value["ulp"] == comparison.ulps.max
    assert value["used"] == verdict.used
    assert value["passed"]


def test_what_was_allowed_follows_from_the_verdict():
    exact = torch.randn(4, 32, dtype=torch.float64) + 3.0
    comparison = metrics.compare(exact, exact.bfloat16(), dtype="bfloat16")
    floor = op_floors.output(exact)
    _, value = comparisons.entry(
        "add", "", comparison, tolerance.judge(comparison, floor, 3), False
    )
    assert value["allowed"] == pytest.approx(3 * floor.relative_l2)


def test_equal_bits_have_no_error_even_where_they_are_not_finite():
    x = torch.tensor([[1.0, float("inf")]])
    comparison = metrics.compare(x, x)
    _, value = comparisons.entry(
        "slice", "", comparison, tolerance.judge(comparison, op_floors.EXACT), True
    )
    assert (value["relative_l2"], value["worst_row"], value["histogram"]) == (0.0, 0.0, None)


def test_readable_figures_are_those_that_there_are():
    assert comparisons.readable(entry(ulp=None), "output 1: ") == [
        ("output 1: op", "add"),
        ("output 1: PCC", "0.999000000"),
        ("output 1: tolerance used", "50.00%"),
    ]


TWO = """
from ttnn_verify.pytest_plugins import comparisons

def test_two(record_property):
    for case in ("a", "b"):
        value = {"op": "add", "case": case, "passed": True, "pcc": 0.5, "ulp": None, "used": None}
        record_property(comparisons.PROPERTY, value)
    record_property("other", {"kept": 1})
"""


def test_junit_has_each_comparisons_figures_by_name(pytester, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makepyfile(TWO)
    pytester.runpytest("-p", "ttnn_verify.pytest_plugins.comparisons", "--junit-xml", "junit.xml")
    text = (pytester.path / "junit.xml").read_text()
    for case in "ab":
        assert f'<property name="{case}: PCC" value="0.500000000" />' in text
    assert f'name="{comparisons.PROPERTY}"' not in text
    assert "kept" in text


TESTS = """
import pytest
from ttnn_verify.pytest_plugins import comparisons

@pytest.mark.parametrize("used", [0.5, 0.95])
@pytest.mark.parametrize("op", ["add", "slice"])
def test_op(op, used, record_property):
    value = {"op": op, "case": f"{op}-{used}", "passed": used < 0.9 or op == "slice",
             "pcc": 0.99, "ulp": 3.0, "used": used if op == "add" else None}
    record_property(comparisons.PROPERTY, value)
    assert value["passed"]
"""


@pytest.mark.parametrize("arguments", [[], ["-n", "2"]], ids=["alone", "workers"])
def test_the_table_is_printed_at_the_end(pytester, monkeypatch, arguments):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess(
        "-p", "ttnn_verify.pytest_plugins.comparisons", *arguments
    )
    result.stdout.fnmatch_lines(
        [
            "*= comparisons =*",
            "add * 2 * 1 * 0.990000 * 3 * 95%",
            "slice * 2 * 0.990000 * 3 * exact",
        ]
    )
    result.assert_outcomes(passed=3, failed=1)


def test_a_run_without_comparisons_has_no_table(pytester, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makepyfile("def test_nothing(): pass")
    result = pytester.runpytest_subprocess("-p", "ttnn_verify.pytest_plugins.comparisons")
    result.stdout.no_fnmatch_line("*= comparisons =*")
