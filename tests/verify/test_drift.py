"""Drift on the real model: none without a fault, and the operation's name with one."""

import contextlib
import dataclasses
import html
import json

import pytest
import torch
import ttnn

import ttnn_emulator
from model.optimized import build_model
from tests.support.checkpoint import CHECKPOINT, model_file
from ttnn_emulator.ops import BINDINGS
from ttnn_verify import backend, drift
from ttnn_verify.drift import __main__ as command
from ttnn_verify.drift import reuse
from ttnn_verify.drift.judgement import expecting, judging
from ttnn_verify.drift.observation import reading, taps
from ttnn_verify.huggingface import golden
from ttnn_verify.numerics import metrics, op_floors
from ttnn_verify.ops import table
from ttnn_verify.ops.expected import Expected, NoGolden
from ttnn_verify.pytest_plugins.device import BACKEND
from ttnn_verify.report.drift import drift_page, drift_record

MODEL_PY = model_file("optimized")
ROTATES = next(name for name in BINDINGS if table.spec_of(name).pairs)  # of a prompt


@pytest.fixture(scope="module")
def ids(prompt_ids):
    return prompt_ids[:, :36]


@pytest.fixture
def main(device, request, monkeypatch, capsys, tmp_path):
    """The command on the session's device, as quick as it can be: (exit status, its output)."""

    def run(*args):
        if request.config.stash[BACKEND] == "emulated":
            with ttnn_emulator.arithmetic_settings("rounded"):
                status = command.main([str(MODEL_PY), "--model", str(CHECKPOINT), *map(str, args)])
        else:
            status = command.main([str(MODEL_PY), "--model", str(CHECKPOINT), *map(str, args)])
        return status, capsys.readouterr().out

    monkeypatch.setattr(backend, "open_device", lambda *args: contextlib.nullcontext(device))
    monkeypatch.setenv(golden.FOLDER_VARIABLE, str(tmp_path))
    return run


def turned_back(kernel):
    """Rotation by the negative angle."""

    def faulty(launch, x, cos, sin, *rest, **kwargs):
        return kernel(launch, x, cos, negated(sin), *rest, **kwargs)

    return faulty


def of_negative_operand(kernel):
    """The product of -x."""
    return lambda launch, x, *rest, **kwargs: kernel(launch, negated(x), *rest, **kwargs)


def negated(operand):
    contents = ttnn_emulator.memory.Contents(-operand.data, operand.padded_shape)
    return dataclasses.replace(operand, contents=contents)


def test_the_healthy_model_has_no_drift(main, tmp_path):
    status, out = main("--json", tmp_path / "drift.json", "--html", tmp_path / "drift.html")
    assert status == 0, out
    assert out.splitlines()[-1].startswith("no drift")
    record = json.loads((tmp_path / "drift.json").read_text())
    assert [row["name"] for row in record["depth"]][1:-2] == [f"layer {i}" for i in range(4)]
    assert record["status"] == 0
    assert set(record["counts"]) == {"ok"}
    page = (tmp_path / "drift.html").read_text()
    assert "<svg" in page
    assert "no drift" in page
    assert "http" not in page
    assert (tmp_path / reuse.FILE).exists()


def test_a_rope_fault_is_named(main, tmp_path):
    with ttnn_emulator.binding_replaced(ROTATES, turned_back):
        status, out = main("--first", "--no_reuse")
    assert status == 1
    assert not (tmp_path / reuse.FILE).exists()
    assert f"layer 0, attention, {ROTATES} (q): PCC" in out, out


@pytest.mark.parametrize("scope", ["first", "frugal"])
def test_a_short_search_writes_what_it_knows(scope, main, tmp_path):
    files = ("--json", tmp_path / "drift.json", "--html", tmp_path / "drift.html")
    with ttnn_emulator.binding_replaced(ROTATES, turned_back):
        status, out = main(f"--{scope}", *files)
    assert status == 1
    record = drift_record.load(tmp_path / "drift.json")
    (found,) = record.findings
    *_, verdict = out.splitlines()
    assert (record.scope, record.status, record.verdict) == (scope, 1, verdict)
    assert (found.operation, found.layer, found.value) == (ROTATES, 0, "q")
    assert found.status in drift_page.BAD
    assert record.prompt.startswith("<s>")
    assert record.model_file == str(MODEL_PY)
    assert record.versions.keys() >= {"ttnn", "torch", "transformers", "phi3-ttnn-verification"}
    page = (tmp_path / "drift.html").read_text()
    assert f"--{scope}" in page
    assert verdict in html.unescape(page)


def test_what_has_no_golden_accuses_nobody(hf_model, device, ids, monkeypatch):
    """Neither itself, though it is no product that Hugging Face has, nor what follows it."""

    def unknown(context, *args, **kwargs):
        raise NoGolden("nothing is known of it.")

    linear = dataclasses.replace(table.SPECS["linear"], golden=unknown)
    monkeypatch.setitem(table.SPECS, "linear", linear)
    with (
        ttnn_emulator.arithmetic_settings("rounded"),
        ttnn_emulator.binding_replaced("ttnn.linear", of_negative_operand),
    ):
        finding = drift.locate(build_model(hf_model, device, 96), hf_model, ids, 1)
    assert finding is None, finding.line


class Phases:
    """A progress that notes phases alone."""

    def __init__(self):
        self.names = []

    def begin(self, phase, calls):
        self.names.append(phase)

    def call(self, number):
        pass

    def ttnn_call(self):
        pass


def test_halving_finds_it_in_few_evaluations(hf_model, device, ids):
    phases = Phases()
    with (
        ttnn_emulator.arithmetic_settings("rounded"),
        ttnn_emulator.binding_replaced(ROTATES, turned_back),
    ):
        model = build_model(hf_model, device, 96)
        result = drift.halve(model, hf_model, ids, 2, drift.Session(progress=phases))
    assert (result.step.layer, result.step.short) == (0, "q"), result.line
    assert result.evaluations <= 2 + 2 + 4, result.line  # 4 layers, 15 steps in each
    runs = [f"run {1 + number}" for number in range(result.evaluations - 1)]
    assert phases.names[1:] == [*runs, "isolated walk"]


def test_a_faulty_family_has_the_share_of_the_error(hf_model, device, ids):
    with (
        ttnn_emulator.arithmetic_settings("rounded"),
        ttnn_emulator.binding_replaced(ROTATES, turned_back),
    ):
        shares = drift.attribute(build_model(hf_model, device, 96), hf_model, ids, 1)
    names = [share.family for share in shares]
    assert names == ["none", *table.FAMILIES, "all of them"]
    by_share = sorted(shares[1:-1], key=lambda share: -share.share)
    assert by_share[0].family == "rotary"
    assert by_share[0].share > 0.9
    assert by_share[1].share < 0.5


def test_taps_see_every_call_and_leave_nothing_behind(device):
    x = ttnn.from_torch(torch.ones(32, 32), layout=ttnn.TILE_LAYOUT, device=device)
    add = ttnn.add  # got hold of before
    names = []

    def observe(call, run):
        names.append(call.name)
        return run()

    with taps.intercept(observe):
        add(x, x)
        ttnn.unsqueeze_to_4D(x)  # calls others within
    add(x, x)
    assert names == ["ttnn.add", "ttnn.unsqueeze_to_4D"]


def test_tensors_in_lists_reach_goldens_as_torch_tensors(device):
    x = ttnn.from_torch(torch.ones(32, 32), layout=ttnn.TILE_LAYOUT, device=device)
    given = reading.Reader().in_torch(([x, x], -1))
    assert torch.equal(torch.cat(given[0], given[1]), torch.ones(32, 64))


def test_a_cache_in_a_block_format_is_not_judged_bit_for_bit():
    rows = torch.randn(32, 64)
    near, far = rows + 0.004 * torch.randn(32, 64), 1.1 * rows

    def passes(actual, dtype):
        expected = expecting.in_blocks(Expected(rows), dtype)
        return judging.result_verdict(rows, actual, dtype, expected.floor).passed

    assert passes(near, "bfloat8_b")
    assert not passes(far, "bfloat8_b")
    assert not passes(near, "bfloat16")


@pytest.mark.parametrize("dtype", ["bfloat8_b", "bfloat4_b"])
def test_operands_in_a_block_format_have_been_rounded(dtype):
    """The device has them as they are since; Hugging Face's step takes them as they were before."""
    before = torch.randn(64, 256)
    since = op_floors.blocks(before, dtype)
    error = metrics.relative_l2(before, since)
    assert op_floors.block_float(since, dtype).relative_l2 == pytest.approx(error, rel=0.1)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--prompt", "In"], "it needs at least one more"),
        (["--prompt", ""], "is empty"),
        (["--prompt_file", "nowhere.txt"], "nowhere.txt"),
        (["--decoded", "0"], "'0' is not a whole number of at least 1"),
        (["--json", "nowhere/drift.json"], "there is no such folder"),
        (["--backend", "silicon"], "silicon"),
        (["--max_seq_len", "8"], "--max_seq_len is 8"),
    ],
)
def test_bad_input_is_one_line(args, says, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(backend, "CARDS", tmp_path / "no-cards")
    try:
        status = command.main([str(MODEL_PY), "--model", str(CHECKPOINT), *args])
    except SystemExit as exit:
        status = exit.code
    out, err = capsys.readouterr()
    assert status == 2
    assert out == ""
    assert err.startswith("error: "), err
    assert err.count("\n") == 1, err
    assert says in err


def test_a_model_without_calls_cannot_be_told(hf_model, ids):
    with pytest.raises(drift.DriftUndetermined, match="no operation of TTNN"):
        drift.locate(hf_model, hf_model, ids)
