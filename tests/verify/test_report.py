"""The report: what its page holds, and that a browser shows it."""

import dataclasses
import json
import math
import re
import types

import pytest

from ttnn_verify.drift import cumulative, finding
from ttnn_verify.pytest_plugins import outcomes
from ttnn_verify.pytest_plugins.outcomes import NodeResult
from ttnn_verify.report import content, glossary, templating
from ttnn_verify.report.drift import drift_page, drift_record, drift_text
from ttnn_verify.report.drift.drift_record import FindingRecord

from .report_samples import DRIFT, FIGURES

pytest_plugins = ["pytester"]


def written(suite):
    """The page of a run with a failed test, a baseline and a drift report."""
    was = {name: {} for name in FIGURES if name != "add-2"} | {"gone-1": {}}
    suite.run(was, "--pcc-record", "was.json")
    (suite.path / "drift.json").write_text(DRIFT.to_json())
    arguments = ("--pcc-check", "was.json", "--report-drift", "drift.json")
    result = suite.run(FIGURES, "--report", "report.html", *arguments)
    result.stdout.fnmatch_lines(["report: report.html"])
    return suite.path / "report.html"


def loaded(text):
    """The addresses in a page."""
    return re.findall(r'http|(?:src|href|url)\s*[=(]\s*"?(?!#|data:)([^")\s>]+)', text)


def test_the_page_has_all_its_parts_and_needs_no_network(suite):
    text = written(suite).read_text()
    for part in ("summary", "failures", "pyramid", "depth", "baseline", "cases", "histograms"):
        assert f'id="{part}"' in text
    assert "emulated, kernel arithmetic" in text
    assert "<dt>ttnn</dt>" in text
    assert "first bad op: layer 1, attention" in text
    assert "mul-1 is off" in text, "why the test failed"
    assert "1 vanished" in text
    assert "test_op[gone-1]" in text
    assert loaded(text) == []
    assert "&lt;b&gt;exp&lt;/b&gt;" in text
    assert "<b>exp" not in text


def test_failed_comparisons_come_first_then_those_that_used_most(suite):
    text = written(suite).read_text()
    cases = re.findall(r'<td class="case">(.+?)<small>', text)
    assert cases == ["mul-1", "add-1", "add-2", "&lt;b&gt;exp&lt;/b&gt;", "slice-1"]


def test_the_worst_of_those_that_failed_comes_first():
    def result(case, used):
        entry = {"case": case, "op": "op", "used": used, "passed": used < 1}
        return NodeResult("tests/ops/test_ops.py::test_op[a]", "failed", entries=(entry,))

    cases = [("a", 1.2), ("b", 9.0), ("c", 0.5), ("d", 3.0)]
    rows = content.rows([result(*case) for case in cases], {})
    assert [row.entry["case"] for row in rows] == ["b", "d", "a", "c"]


@pytest.mark.parametrize("case", ["op.py::test_op[a b]", "op.py::test_op | a b", "op.py::test_op"])
def test_a_row_names_its_test_without_parameters_and_cases(case):
    assert content.CaseRow(case, "ops", {}, None).test == "test_op"


def test_the_reason_of_a_failure_begins_with_the_verdict():
    crash = types.SimpleNamespace(message="Failed: logits, token at 33: 3 x\n  more")
    report = types.SimpleNamespace(longrepr=types.SimpleNamespace(reprcrash=crash))
    assert outcomes.first_line(report) == "logits, token at 33: 3 x"


def test_a_browser_shows_it_without_an_error_and_sorts_and_filters(suite, browser):
    path = written(suite)
    shown = browser.new_page()
    messages = []
    shown.on("console", lambda message: messages.append(message.text))
    shown.on("pageerror", lambda error: messages.append(str(error)))
    shown.on("requestfailed", lambda request: messages.append(request.url))
    shown.goto(path.as_uri())

    def column(number):
        return shown.locator(
            f"#comparisons tbody tr:visible td:nth-child({number})"
        ).all_inner_texts()

    shown.get_by_role("button", name="PCC").click()
    assert column(3) == ["0.990000", "0.999000", "0.999900", "0.999900", ""], "the least first"
    shown.get_by_role("button", name="ULP").click()
    assert column(6) == ["inf", "10", "9", "2", ""], "the greatest first"
    shown.get_by_role("button", name="ULP").click()
    assert column(6) == ["2", "9", "10", "inf", ""], "none is last either way"
    shown.get_by_label("filter by words").fill("ADD")
    assert len(column(1)) == 2
    assert shown.locator(".count").inner_text() == "2 of 5"
    assert shown.locator("svg").count() >= 4
    assert messages == []


def test_a_drift_report_that_is_none_stops_the_run(suite):
    (suite.path / "drift.json").write_text("no JSON")
    result = suite.run({"add-1": {}}, "--report", "r.html", "--report-drift", "drift.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: drift report *drift.json: *"])
    assert not (suite.path / "r.html").exists()


def test_a_drift_record_comes_back_from_its_file(tmp_path):
    path = tmp_path / "drift.json"
    path.write_text(DRIFT.to_json())
    assert drift_record.load(path) == DRIFT
    assert [row.layer for row in DRIFT.depth] == [None, 0, 1, 2, None]


@pytest.mark.parametrize("text", ["[]", "{}", '{"depth": []}', '{"depth": [{"layer": 1}]}'])
def test_a_file_that_is_no_drift_record_is_refused(tmp_path, text):
    path = tmp_path / "drift.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"write one with `python -m ttnn_verify\.drift --json`"):
        drift_record.load(path)


def test_the_drift_page_has_all_its_parts_the_worst_operations_first():
    text = drift_page.render(DRIFT)
    for part in ("summary", "depth", "attribution", "operations"):
        assert f'id="{part}"' in text
    assert "<title>drift: drift of phi3-&lt;tiny&gt;</title>" in text
    assert re.findall(r'<td class="mono">(.+?)</td>', text) == [
        "ttnn.linear",
        "ttnn.mul",
        "ttnn.add",
        "ttnn.eq",
        "ttnn.pad",
    ]
    assert loaded(text) == []


def test_the_depth_table_of_the_page_has_the_calls_of_each_row():
    text = drift_page.render(DRIFT)
    table = text.partition('id="depth"')[2].partition("</table>")[0]
    assert all(f">{word}</abbr>" in table for word in ("ops", "bad", "worst op"))
    row = next(line for line in table.splitlines() if "<td>layer 1</td>" in line)
    assert row.endswith(
        '<td class="number">2</td><td class="number">1</td>'
        '<td class="mono worst">linear (q) 900%</td></tr>'
    )
    assert '<td class="number">1.10</td>' in row  # gain


ROWS = ("embedding", "wpe", "layer 0", "ln_f", "logits")


@pytest.mark.parametrize(
    ("one", "row"),
    [
        (FindingRecord("ok", "", 0, "ttnn.layer_norm", None, "head", "ln_f"), "ln_f"),
        (FindingRecord("ok", "", 0, "ttnn.mean", None, "head", "ln_f.mean"), "ln_f"),
        (FindingRecord("ok", "", 0, "ttnn.linear", None, "head", None), "logits"),
        (FindingRecord("ok", "", 0, "ttnn.embedding", None, None, "wpe"), "wpe"),
        (FindingRecord("ok", "", 0, "ttnn.typecast"), "embedding"),
        (FindingRecord("ok", "", 0, "ttnn.add", 0, "MLP", "wpe"), "layer 0"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.operation,
)
def test_a_call_is_counted_in_the_row_of_its_value(one, row):
    counted = drift_record.calls_of_rows(ROWS, [one])
    assert [name for name, calls in counted.items() if calls.ops] == [row]


def test_the_worst_call_of_a_row_is_a_bad_one_first():
    rows = drift_record.calls_of_rows([row.name for row in DRIFT.depth], DRIFT.findings)
    found = {name: (row.ops, row.bad, row.worst and row.worst.short) for name, row in rows.items()}
    assert found["layer 1"] == (2, 1, "linear (q) 900%")
    assert found["layer 0"] == (2, 0, "mul (y) 80%")
    assert found["layer 2"] == (0, 0, None)


def test_the_tables_of_drift_fit_80_columns_and_end_without_blanks():
    names = ("embedding", *(f"layer {i}" for i in (0, 127)), "final_layer_norm", "logits")
    long = "ttnn.transformer.an_operation_with_an_uncommonly_long_name"
    verdict = types.SimpleNamespace(
        comparison=types.SimpleNamespace(relative_l2=0.1, pcc=0.9), used=123.4, passed=False
    )
    call = finding.OpFinding("wrong", "a prompt", 0, long, 127, "attention", "attention", verdict)
    rows = [cumulative.DepthRow(name, 1e-3, math.nan, 0.5, 0.1, 1234.5, 1e-9) for name in names]
    lines = list(drift_text.table(rows, [call] * 1234))
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if line != line.rstrip()]
    assert any("layer 127" in line and " 1234 1234" in line for line in lines)


def test_a_row_whose_input_was_not_recognised_is_not_isolated():
    """In decode a call of layer 0 is bad; the logits that come of it are not the head's fault."""
    names, nan = ("embedding", "layer 0", "norm", "logits"), math.nan
    prompt, tokens = (0.0, 0.1, 0.2, 0.3), (0.0, nan, nan, 0.9)
    alone = list(map(cumulative.DepthRow, names, prompt, tokens))

    def column(drifts):
        return [row.isolated for row in cumulative.with_isolated(alone, alone, drifts)]

    assert column(drifts=True) == [0.0, 0.1, 0.2, 0.3]
    assert column(drifts=False) == [0.0, 0.1, 0.2, 0.9]
    lost = [*alone[:2], cumulative.DepthRow("norm"), alone[-1]]
    assert math.isnan(cumulative.with_isolated(lost, lost, True)[-1].isolated)


def test_the_picture_has_a_line_for_each_error_that_there_is():
    picture = drift_page.picture(DRIFT)
    assert "own results, prompt" in picture
    assert "isolated (fed with HF" in picture
    assert "own results, tokens" not in picture
    assert all(f">{name}<" in picture for name in ("embedding", "0", "2", "logits"))
    assert drift_page.picture(dataclasses.replace(DRIFT, depth=())) is None


def test_errors_over_depth_are_the_greatest_of_each_layer(tmp_path):
    rows = [
        content.CaseRow(
            "", "layers", {"op": "layers.mlp", "case": case, "relative_l2": error}, None
        )
        for case, error in [
            ("layers.0.down-S1", 0.1),
            ("layers.0.down-S2", 0.3),
            ("layer 1", 0.2),
            ("without", 9.0),
        ]
    ]
    assert content.depth(rows) == {"mlp": [(0, 0.3), (1, 0.2)]}


@pytest.mark.parametrize(
    ("nodeid", "tier"),
    [
        ("tests/ops/test_ops.py::test", "ops"),
        ("tests/emulator/arithmetic/test_x.py::test", "emulator"),
        ("tests/locating/test_locating.py::test", "locating"),
        ("my/tests/anything/deeper/test_x.py::test", "anything"),
        ("my/ops/tests/test_x.py::test", "other"),
        ("ops/test_x.py::test", "ops"),
        ("tests/test_architecture.py::test", "other"),
        ("test_x.py::test", "other"),
        ("ttnn_verify.suite.layers::test_value[layer2-MLP-down-decode]", "layers"),
    ],
)
def test_a_tests_folder_is_its_tier(nodeid, tier):
    assert content.tier_of(nodeid) == tier


def test_tiers_are_the_pyramid_from_the_top_down_then_the_tools():
    folders = ["verify", "ops", "emulator", "e2e"]
    tiers = content.tiers([NodeResult(f"tests/{name}/test_x.py::test") for name in folders])
    assert [(tier.name, tier.compares) for tier in tiers] == [
        ("e2e", True),
        ("ops", True),
        *[("emulator", False), ("verify", False)],
    ]


def test_figures_that_sort_last_are_empty():
    assert [templating.sortable(value) for value in (None, math.nan, math.inf, 0.5)] == [
        *["", ""],
        "1e999",
        "0.5",
    ]


def test_the_page_knows_the_statuses_of_calls():
    assert drift_page.BAD == finding.BAD
    assert drift_page.UNJUDGED == (finding.NO_GOLDEN, finding.TOOL_ERROR)
    assert {finding.OK, *drift_page.BAD, *drift_page.UNJUDGED} <= glossary.TERMS.keys()


def test_a_record_of_an_earlier_version_still_makes_a_page(tmp_path):
    """It lacks what ran, and has fewer calls."""
    data = json.loads(DRIFT.to_json())
    for added in ("model_file", "prompt", "made", "versions", "scope", "left_out"):
        del data[added]
    path = tmp_path / "drift.json"
    path.write_text(json.dumps(data))
    assert "What it ran on" in drift_page.render(drift_record.load(path))


def test_a_page_of_a_search_that_found_nothing_says_so():
    nothing = dataclasses.replace(DRIFT, depth=(), findings=(), counts={}, status=0, scope="first")
    text = drift_page.render(nothing)
    assert "no drift" in text
    assert "only that is shown" in text
    assert "None to show." in text
