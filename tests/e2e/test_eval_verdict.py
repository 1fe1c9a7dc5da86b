"""eval.py ends with 0 for a model that is right, 1 for one that is not, 125 where it cannot tell.

Model files that only change what Hugging Face's model says need no device; both stages, and the
example of docs/model-file.md, run on the tests' own.
"""

import contextlib
import re

import pytest

import ttnn_emulator
from scripts import run_eval
from tests.support.checkpoint import CHECKPOINT, ROOT, STAGES, model_file
from tests.support.checkpoint import PROMPT as PROMPT_FILE
from ttnn_verify import backend
from ttnn_verify import eval_command as evaluation_command
from ttnn_verify.huggingface import inputs

PROMPT = ("--prompt", "And the LORD said unto")
ROUNDED = ("--backend", "emulated", "--arithmetic", "rounded")
LOOSE = ("--min_top1=0", "--min_top5=0", "--min_pcc=-1", "--max_kl=1000")


@pytest.fixture
def run(capsys):
    """Run eval.py. Returns its exit status, what it prints, and the lines on stderr."""

    def run(path, *options, tokens=4):
        command = [path, "--model", CHECKPOINT, "--max_new_tokens", tokens, *PROMPT, *options]
        status = evaluation_command.main([str(word) for word in command])
        out, err = capsys.readouterr()
        return status, out, [line for line in err.splitlines() if line.startswith(SAID)]

    return run


SAID = ("error:", "failed:", "could not tell:")


@pytest.fixture
def no_device(monkeypatch):
    monkeypatch.setattr(backend, "open_device", lambda *_: contextlib.nullcontext())


@pytest.fixture
def on_the_device(device, backend_name, monkeypatch):
    """eval.py runs on the tests' device, in rounded arithmetic if it is emulated: its options."""

    @contextlib.contextmanager
    def open_device(name, device_id=0, arithmetic=None, system=None, mesh=None):
        with contextlib.ExitStack() as stack:
            if name == "emulated":
                stack.enter_context(ttnn_emulator.arithmetic_settings(arithmetic))
            yield device

    monkeypatch.setattr(backend, "open_device", open_device)
    rounded = ("--arithmetic", "rounded") if backend_name == "emulated" else ()
    return ("--backend", backend_name, *rounded)


@pytest.fixture
def written(tmp_path, no_device):
    """A model file with such a change to a copy of Hugging Face's model; its path.

    The change is the body of `changed(model)`, which returns what is called.
    """

    def write(body="return model"):
        lines = "".join(f"    {line}\n" for line in body.splitlines())
        path = tmp_path / "model.py"
        path.write_text(
            "import copy\nfrom types import SimpleNamespace\nimport torch\n\n"
            f"def changed(model):\n{lines}\n"
            "def build_model(hf_model, tt_device, max_seq_len):\n"
            "    return changed(copy.deepcopy(hf_model))\n"
        )
        return path

    return write


def led(statement):
    """A change: the statement sets `logits` and `past` from what Hugging Face's model returns."""
    return f"""def call(input_ids, past_key_values=None, use_cache=True):
    out = model(input_ids=input_ids, past_key_values=past_key_values, use_cache=True)
    logits, past = out.logits, out.past_key_values
    {statement}
    return SimpleNamespace(logits=logits, past_key_values=past)
return call"""


REVERSED = """model.model.layers = model.model.layers[::-1]
for number, layer in enumerate(model.model.layers):
    layer.self_attn.layer_idx = number
return model"""


def test_a_right_model_ends_with_0(run, written):
    status, out, said = run(written(), *ROUNDED)
    assert (status, said) == (0, [])
    assert "Verdict:        passed\n" in out


def test_layers_in_reverse_end_with_1_and_a_line_for_each_bound(run, written):
    status, out, said = run(written(REVERSED))
    assert status == 1
    assert [line.split(" is ")[0] for line in said] == [
        f"failed: {name}" for name in ("top-1", "top-5", "PCC", "KL")
    ]
    assert "Verdict:        failed, bounds missed: 4\n" in out


def test_bounds_of_ones_own_replace_the_measured_ones(run, written):
    status, out, said = run(written(REVERSED), *LOOSE)
    assert (status, said) == (0, [])
    assert "Bounds:         top-1 >= 0.00% (set), top-5 >= 0.00% (set)" in out
    status, _, said = run(written(REVERSED), *LOOSE[1:])
    assert status == 1
    (line,) = said
    assert re.fullmatch(r"failed: top-1 is 0\.00 %, at least \d+\.\d\d % is expected\.", line)
    status, _, said = run(written(), "--max_kl", "0")
    assert status == 0, "the model is Hugging Face's own"


def test_nan_ends_with_1_whatever_the_bounds(run, written):
    status, out, said = run(written(led("logits = logits * torch.nan")), *LOOSE)
    assert status == 1
    assert said[0].startswith("failed: the logits are not finite: ")
    assert "Logits:         not finite" in out


def test_a_batch_of_right_rows_ends_with_0(run, written):
    status, out, said = run(written(), "--batch", 3, *ROUNDED)
    assert (status, said) == (0, [])
    assert re.search(r"^Rows:           3, 0 failed; the worst one, row \d:$", out, re.MULTILINE)


def test_logits_of_row_0_in_row_1_are_seen_in_row_1(run, written):
    fault = led("logits = logits[:1].expand_as(logits)")
    status, out, said = run(written(fault), "--batch", 2)
    assert status == 1
    assert said
    assert all(line.startswith("failed: row 1: ") for line in said)
    assert "Rows:           2, 1 failed; the worst one, row 1:\n" in out


def test_a_model_that_refuses_a_batch_ends_with_125(run, written):
    refusing = led("if len(input_ids) > 1: raise ValueError('one row at a time')")
    status, out, said = run(written(refusing), "--batch", 2)
    assert (status, out) == (125, "")
    (line,) = said
    assert line.startswith("could not tell: the model, given 2 rows, fails: ValueError: one row at")


@pytest.mark.parametrize(
    ("signature", "told"), [(", batch=1", "2"), (", **options", "2"), ("", "nothing")]
)
def test_a_build_model_that_takes_a_batch_is_told_it(run, no_device, tmp_path, signature, told):
    path = tmp_path / "model.py"
    path.write_text(
        f"def build_model(hf_model, tt_device, max_seq_len{signature}):\n"
        "    raise ValueError(f\"told {locals().get('batch') or locals().get('options', "
        "{}).get('batch', 'nothing')}\")\n"
    )
    _, _, said = run(path, "--batch", 2)
    assert f"fails: ValueError: told {told} (" in said[0]


@pytest.fixture
def prepared(written):
    """Options -> the prompts `[B, S]` that eval.py would give the model."""

    def prompts(*options):
        command = [written(), "--model", CHECKPOINT, "--max_new_tokens", 4, *options]
        args = evaluation_command.parse([str(word) for word in command])
        plan, _ = evaluation_command.prepare(args)
        return plan.prompt.ids

    return prompts


@pytest.mark.parametrize(
    "prompt", [PROMPT, ("--prompt_file", PROMPT_FILE), ()], ids=["text", "file", "default"]
)
def test_the_prompt_itself_is_row_0_of_a_batch_and_all_rows_differ(prepared, prompt):
    alone, rows = prepared(*prompt), prepared(*prompt, "--batch", 4)
    assert rows.shape == (4, alone.shape[1])
    assert rows[0].equal(alone[0])
    assert len(rows.unique(dim=0)) == 4
    assert (rows[:, 0] == rows[0, 0]).all(), "each begins with the token of beginnings"


def test_a_prompt_of_ids_is_a_batch_by_itself(prepared, tmp_path):
    ids = tmp_path / "ids"
    ids.write_text("7 8 9 10")
    rows = prepared("--prompt_ids_file", ids, "--batch", 2)
    assert rows.tolist() == [[7, 8, 9, 10], [9, 10, 7, 8]]


def test_too_little_text_for_a_batch_is_refused(prepared, tmp_path):
    ids = tmp_path / "ids"
    ids.write_text("7 7 7")
    with pytest.raises(inputs.BadInput, match="no 2 different stretches of 3 tokens"):
        prepared("--prompt_ids_file", ids, "--batch", 2)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("return None", "build_model returns None, which cannot be called"),
        ("return lambda **inputs: None", "the model returns None, which has no logits"),
        (led("logits = logits.tolist()"), "the model's logits are a list; a torch.Tensor"),
        (led("logits = logits[0]"), "2 dimensions"),
        (led("logits = logits.argmax(-1, keepdim=True)"), "logits are of torch.int64"),
        (led("logits = logits.repeat(32, 1, 1)"), "32 rows for 1 of input_ids"),
        (led("logits = logits[..., :-1]"), "for each token where the vocabulary has"),
        (led("past = None"), "the model returns past_key_values None"),
    ],
    ids=["not-callable", "none", "list", "rank", "integers", "rows", "vocabulary", "past"],
)
def test_a_model_that_returns_something_else_ends_with_125(run, written, change, sentence):
    status, out, (line,) = run(written(change))
    assert (status, out) == (125, "")
    assert line.startswith("could not tell: ")
    assert sentence in line


@pytest.mark.parametrize("batch", [1, 2], ids="batch{}".format)
@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_passes(run, on_the_device, stage, batch):
    path = model_file(stage)
    status, _, said = run(path, *on_the_device, "--batch", batch, tokens=3)
    assert (status, said) == (0, [])


def test_the_example_of_the_page_on_model_files_passes(run, on_the_device, tmp_path):
    text = (ROOT / "docs/model-file.md").read_text()
    blocks = re.findall(r"(?ms)^```python\n(.*?)^```$", text)
    (example,) = (block for block in blocks if "def build_model(" in block)
    path = tmp_path / "model.py"
    path.write_text(example)
    status, _, said = run(path, *on_the_device, "--batch", 2)
    assert (status, said) == (0, [])


def test_the_line_of_metrics_ends_with_the_same_status(no_device, capsys):
    options = ("--mode", "hf", "--hf-model", "phi3-tiny", "--model-path", str(CHECKPOINT))
    assert run_eval.main([*options, "--decode-len", "4"]) == 0
    assert capsys.readouterr().out.startswith("YT_METRICS=")
