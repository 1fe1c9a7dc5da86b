"""The suite, run as anyone would: in an empty folder, against model files that it is given.

A run that opens a device is a process of its own. The plugin is found there by the entry point that
pyproject.toml states, as an installed package's is.
"""

import json
import pathlib
import re
import types

import pytest
import torch

from tests.support.checkpoint import CHECKPOINT, ROOT, model_file
from tests.support.suite_run import SUITE, SuiteRun, small, suite
from ttnn_verify import backend, cli
from ttnn_verify.drift.finding import MISUSED, NO_GOLDEN, OK, WRONG, OpFinding
from ttnn_verify.drift.observation.walk import ModelCall
from ttnn_verify.numerics import floors, tolerance
from ttnn_verify.pytest_plugins import outcomes
from ttnn_verify.suite import layers, ops, settings
from ttnn_verify.suite.phases import phase_of

pytest_plugins = ["pytester"]

PLUGIN = "ttnn_verify.pytest_plugins.suite"

FUNCTIONAL = f"--model-file={model_file('functional')}"
TINY = f"--model={CHECKPOINT}"

# A model file whose model has another weight than the checkpoint in one place.
FAULTY = """
import copy, sys, torch
sys.path.insert(0, {root!r})
from model import functional

def build_model(hf_model, tt_device, max_seq_len):
    hf_model = copy.deepcopy(hf_model)
    with torch.no_grad():
        hf_model.model.layers[2].self_attn.o_proj.weight *= 1.05
    return functional.build_model(hf_model, tt_device, max_seq_len)
"""

# A right model on a device whose kernel is wrong.
KERNEL = """
import contextlib, sys
sys.path.insert(0, {root!r})
from model import functional
from tests.faults.catalogue import FAULTS

(fault,) = (fault for fault in FAULTS if fault.name == "mean subtracted by rms_norm")
until_the_process_ends = contextlib.ExitStack()

def build_model(hf_model, tt_device, max_seq_len):
    until_the_process_ends.enter_context(fault.inject())
    return functional.build_model(hf_model, tt_device, max_seq_len)
"""

# A model that decodes another token than it is given.
OTHER_TOKEN = """
import sys
sys.path.insert(0, {root!r})
from tests.bringups import batched

def build_model(hf_model, tt_device, max_seq_len):
    model = batched.build_model(hf_model, tt_device, max_seq_len)

    def forward(input_ids, past_key_values=None):
        return model(input_ids + (0 if past_key_values is None else 1), past_key_values)

    return forward
"""

LIGHT = """
import sys

def test_nothing_heavy_is_imported():
    assert "ttnn_verify.pytest_plugins.suite" in sys.modules
    heavy = ("torch", "ttnn", "transformers", "ttnn_verify.pytest_plugins.device")
    assert not [name for name in heavy if name in sys.modules]
"""


@pytest.fixture
def run(tmp_path):
    """Run pytest in an empty folder."""
    return lambda *args: SuiteRun(tmp_path, *args)


# --- a model that is right -----------------------------------------------------------------------

# Of the functional stage: layer 2, two operations, what decodes, and what it has no room for.
CHOSEN = (
    "(layer2 and (o_proj or down or q)) or linear or rms_norm or prefill33 and e2e or long_rope"
)


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("healthy")
    written = ("--junitxml=junit.xml", "--pcc-record=pcc.json", "--report=report.html")
    return SuiteRun(folder, *suite(FUNCTIONAL, TINY, "-k", CHOSEN, *written))


def test_a_right_model_passes(healthy):
    assert healthy.status == pytest.ExitCode.OK, healthy.out
    assert {outcome for outcome, _ in healthy.outcomes().values()} == {"passed", "skipped"}


@pytest.mark.parametrize(
    "name",
    [
        *("linear-prefill64", "linear-prefill33", "linear-decode", "rms_norm-prefill1"),
        *(
            "layer2-attention-o_proj-prefill64",
            "layer2-MLP-down-decode",
            "layer2-attention-q-decode",
        ),
        *("test_prompt[prefill33]", "test_decode_continues_prefill[prefill33]"),
    ],
)
def test_ids_say_what_is_tested_and_where(healthy, name):
    assert healthy.outcomes()[name][0] == "passed"


def test_a_layer_is_chosen_by_its_name(healthy):
    """Were others chosen, the run would have them too."""
    chosen = [name for name in healthy.outcomes() if name.startswith("layer")]
    assert chosen
    assert all(name.startswith("layer2-") for name in chosen)


def test_what_the_model_has_no_room_for_is_skipped_with_the_reason(healthy):
    assert healthy.outcomes()["test_long_rope_prompt"] == (
        "skipped",
        "the long factors begin beyond 256 positions: the model has 256.",
    )


def test_figures_stand_in_all_reports(healthy):
    case = f"{SUITE}.layers::test_value[layer2-attention-o_proj-decode]"
    recorded = json.loads((healthy.folder / "pcc.json").read_text())["cases"]
    assert 0.999 < recorded[case]["pcc"] <= 1
    junit = (healthy.folder / "junit.xml").read_text()
    assert 'name="tolerance used"' in junit
    assert f'classname="{SUITE}.layers"' in junit
    page = (healthy.folder / "report.html").read_text()
    assert "layer2-attention-o_proj-decode" in page
    assert re.search(r"layers\.attention\.o_proj +5 ", healthy.out)


# --- models that are not -------------------------------------------------------------------------


def test_a_wrong_operation_fails_and_others_do_not(run, tmp_path):
    (tmp_path / "model.py").write_text(KERNEL.format(root=str(ROOT)))
    chosen = "ops and (rms_norm or linear)"
    done = run(*suite("--model-file=model.py", TINY, "-k", chosen, "--junitxml=junit.xml"))
    assert done.status == pytest.ExitCode.TESTS_FAILED, done.out
    outcomes = {name: outcome for name, (outcome, _) in done.outcomes().items()}
    phases = ("prefill64", "prefill33", "prefill5", "prefill1", "decode")
    wrong, right = ({f"{name}-{phase}" for phase in phases} for name in ("rms_norm", "linear"))
    assert outcomes == dict.fromkeys(wrong, "failure") | dict.fromkeys(right, "passed")


def test_a_fault_fails_where_it_is_and_nowhere_else(run, tmp_path):
    file = tmp_path / "model.py"
    file.write_text(FAULTY.format(root=str(ROOT)))
    chosen = "o_proj or (layer2 and residual) or linear"
    done = run(*suite(f"--model-file={file}", TINY, "-k", chosen, "--junitxml=junit.xml"))
    assert done.status == pytest.ExitCode.TESTS_FAILED, done.out
    failed = {name for name, (outcome, _) in done.outcomes().items() if outcome == "failure"}
    phases = ("prefill64", "prefill33", "prefill5", "prefill1", "decode")
    assert failed == {f"layer2-attention-o_proj-{phase}" for phase in phases}


def test_a_wrong_decode_fails_where_tokens_are_decoded(run, tmp_path):
    (tmp_path / "model.py").write_text(OTHER_TOKEN.format(root=str(ROOT)))
    chosen = "e2e and (prefill33 or batch)"
    done = run(*suite(*small(tmp_path, "model.py"), "--junitxml=junit.xml", "-k", chosen))
    assert done.status == pytest.ExitCode.TESTS_FAILED, done.out
    outcomes = {name: outcome for name, (outcome, _) in done.outcomes().items()}
    assert outcomes == {
        "test_prompt[prefill33]": "passed",
        "test_decode_continues_prefill[prefill33]": "failure",
        "test_batch": "failure",
    }
    assert "token at 33: relative L2" in done.out


def test_a_model_that_cannot_be_built_fails_with_its_own_words(run, tmp_path):
    file = tmp_path / "model.py"
    file.write_text("def build_model(hf_model, tt_device, max_seq_len): return hf_model.heads\n")
    done = run(*suite(f"--model-file={file}", TINY))
    assert done.status == pytest.ExitCode.TESTS_FAILED
    assert "build_model fails: AttributeError: 'Phi3ForCausalLM' object has no" in done.out
    assert "Traceback" not in done.out


@pytest.fixture
def refused(pytester, monkeypatch):
    """Run the suite in this process, which comes to no test: its status, and its one line."""
    for name in ("TT_METAL_SIMULATOR", "PYTEST_XDIST_WORKER", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)

    def run(*args):
        done = pytester.runpytest("-p", PLUGIN, "-p", "no:cacheprovider", *suite(*args))
        (line,) = [line for line in done.errlines if line]
        return done.ret, line

    return run


def test_a_model_file_that_fails_tells_nothing(refused, pytester):
    pytester.makepyfile(model="import nothing_of_this_name\n")
    status, line = refused("--model-file=model.py", TINY)
    assert status == cli.UNDETERMINED
    assert "could not tell: model file" in line
    assert "nothing_of_this_name" in line


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--model-file=nowhere.py", TINY), "no model file"),
        ((FUNCTIONAL,), "the suite needs --model"),
        ((FUNCTIONAL, "--model=nobody/has/this"), "no checkpoint 'nobody/has/this'"),
        ((FUNCTIONAL, TINY, "--stage=optimized"), "--model-file names it"),
        (("--model=a/b", "--stage=best"), "models/a/b/n150/best/model.py"),
        ((FUNCTIONAL, TINY, "--prompt=a", "--prompt-file=b"), "--prompt and --prompt_file"),
        ((FUNCTIONAL, TINY, "--device-id=1"), "an n150 has one, device 0"),
    ],
)
def test_wrong_use_is_one_sentence(refused, args, says):
    status, line = refused(*args)
    assert status == pytest.ExitCode.USAGE_ERROR
    assert line.startswith("ERROR: ")
    assert says in line


# --- any model -----------------------------------------------------------------------------------


def test_ids_need_no_tokenizer_and_workers_collect_the_same(run, tmp_path):
    chosen = ("-k", "(layer1 and down) or batch or leaves_nothing", "-n", "2")
    ours = small(tmp_path, pathlib.Path(ROOT, "tests/bringups/batched.py"))
    done = run(*suite(*ours, "--junitxml=junit.xml", *chosen))
    assert done.status == pytest.ExitCode.OK, done.out
    assert len(done.outcomes()) == 7
    assert {outcome for outcome, _ in done.outcomes().values()} == {"passed"}


def test_a_session_without_the_suite_is_left_alone(run, tmp_path):
    (tmp_path / "test_light.py").write_text(LIGHT)
    done = run()
    assert done.status == pytest.ExitCode.OK, done.out


def test_a_repository_that_lists_the_plugins_itself_has_them_once(run, tmp_path):
    (tmp_path / "conftest.py").write_text(pathlib.Path(ROOT, "conftest.py").read_text())
    done = run("-p", PLUGIN, "--pyargs", SUITE, "--help")
    assert done.status == pytest.ExitCode.OK, done.err
    assert done.out.count("--pcc-record=FILE") == done.out.count("--model-file=FILE") == 1


# --- parts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end", "phase"),
    [(0, 64, "prefill64"), (0, 1, "prefill1"), (64, 65, "decode"), (64, 96, "prefill32after64")],
)
def test_a_call_of_the_model_is_of_a_phase(start, end, phase):
    assert phase_of(ModelCall(0, 0, (start,), (end,))) == phase


def on_call(index, status, own=None, note=""):
    call = ModelCall(0, 0, (0,), (64,))
    return OpFinding(status, call, index, "ttnn.eq", own=own, note=note)


def test_a_call_without_a_golden_is_no_pass():
    judged, unjudged = on_call(0, OK, own="a verdict"), on_call(1, NO_GOLDEN, note="none for eq.")
    assert ops.unjudged([judged]) == ""
    assert ops.unjudged([judged, unjudged]) == "1 of 2 calls not judged: no-golden: none for eq."


def test_a_call_is_judged_by_any_of_its_findings():
    assert ops.unjudged([on_call(0, OK, own="a verdict"), on_call(0, WRONG)]) == ""


def test_a_value_that_is_missing_is_no_skip():
    """As drift tells it: the value has a place, and no call computes it."""
    missing = OpFinding("missing", ModelCall(0, 0, (0,), (64,)), 3, "a call", 2, "gate", "MLP")
    value = types.SimpleNamespace(layer=2, short="gate", part="MLP")
    assert layers.is_on(missing, value)
    with pytest.raises(pytest.fail.Exception, match="layer 2, MLP, a call"):
        layers.fail_for([missing])


def test_a_value_behind_a_bad_call_is_skipped_with_that_call():
    call = ModelCall(0, 0, (0,), (64,))
    bad = OpFinding(MISUSED, call, 3, "ttnn.add", 2, "residual", "attention", note="it is wrong")
    value = types.SimpleNamespace(layer=3, short="gate", part="MLP")
    phase = types.SimpleNamespace(name="decode", skipped="", failed="")
    for findings, says in (
        ([bad], r"wrong: add \(residual\), layer 2, attention is\.$"),
        ([], layers.FUSED),
    ):
        subject = types.SimpleNamespace(findings=lambda of, known=findings: known)
        with pytest.raises(pytest.skip.Exception, match=says):
            layers.test_value(layers.ValueCase(value, phase), subject, print)


def test_a_bad_step_within_a_value_is_the_comparison_that_failed():
    """`q` is made of four steps by a model that rotates by hand; one of them is wrong."""
    x, floor = torch.ones(4, 32), floors.Floor(0.01, 0.01)
    call = ModelCall(0, 0, (64,), (65,))
    within, whole = (
        OpFinding(status, call, index, "ttnn.add", 0, value, "attention", step=verdict)
        for index, (status, value, verdict) in enumerate(
            (
                (MISUSED, "q.multiply_3", tolerance.judge_values(x, 1.5 * x, floor)),
                (OK, "q", tolerance.judge_values(x, x, floor)),
            )
        )
    )
    value = types.SimpleNamespace(layer=0, short="q", part="attention")
    phase = types.SimpleNamespace(name="decode", skipped="", failed="")
    subject = types.SimpleNamespace(findings=lambda of: [within, whole])
    recorded = []
    with pytest.raises(pytest.fail.Exception, match=r"add \(q.multiply_3\), layer 0"):
        layers.test_value(
            layers.ValueCase(value, phase), subject, lambda *entry: recorded.append(entry)
        )
    ((_, entry),) = recorded
    assert entry["op"] == "layers.attention.q"
    assert not entry["passed"]
    assert entry["relative_l2"] == pytest.approx(0.5)


def session(device_id, workers=0):
    """A session's configuration, as far as the choice of a card goes."""
    option = types.SimpleNamespace(device_id=device_id, tx=["popen"] * workers)
    return types.SimpleNamespace(option=option)


@pytest.fixture
def two_cards(tmp_path, monkeypatch):
    for name in "01":
        (tmp_path / name).touch()
    monkeypatch.setattr(backend, "CARDS", tmp_path)
    monkeypatch.setenv(backend.VISIBLE, "")  # and so put back afterwards


def test_a_session_sees_the_card_that_it_names_alone(two_cards):
    settings.choose_card(session(1), "silicon")
    assert backend.visible_cards() == ["1"]


def test_a_session_that_names_no_card_sees_all(two_cards):
    settings.choose_card(session(None), "silicon")
    assert backend.visible_cards() == ["0", "1"]


def test_a_card_that_is_not_there_is_refused(two_cards):
    with pytest.raises(backend.BackendError, match=r"device 2: there are 2 card\(s\)"):
        settings.choose_card(session(2), "silicon")


def test_workers_do_not_share_a_named_card(two_cards):
    """One would wait for the other, which waits for it to collect."""
    with pytest.raises(ValueError, match="each worker opens a card of its own"):
        settings.choose_card(session(1, workers=2), "silicon")


@pytest.mark.parametrize(
    ("arg", "is_selected"),
    [(SUITE, True), (f"{SUITE}.ops", True), (f"{SUITE}.layers", False), ("ttnn_verify", True)],
)
def test_a_baseline_knows_which_tests_a_run_of_the_suite_selects(arg, is_selected, tmp_path):
    option = types.SimpleNamespace(pyargs=True, lf=False, ignore=None, ignore_glob=None)
    params = types.SimpleNamespace(dir=tmp_path)
    config = types.SimpleNamespace(
        option=option, args=[arg], invocation_params=params, rootpath=tmp_path
    )
    record = outcomes.RunRecord(config)
    assert record.is_selected(f"{SUITE}.ops::test_operation[gone-decode]") is is_selected
