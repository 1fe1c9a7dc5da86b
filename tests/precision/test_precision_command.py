"""The command: what it prints and writes, and how it refuses."""

import contextlib
import json

import pytest

import ttnn_emulator
from model.optimized.precision import from_file
from tests.support.checkpoint import CHECKPOINT, model_file
from ttnn_verify import backend
from ttnn_verify.precision import __main__ as command
from ttnn_verify.precision import measuring

MODEL = (str(model_file("optimized")), "--model", str(CHECKPOINT))
SHORT = ("--prompts", "1", "--prompt_tokens", "24", "--evaluations", "7", "--max_seq_len", "64")


@pytest.fixture
def run(device, backend_name, monkeypatch, capsys):
    """Run the command on the tests' device: (status, stdout, stderr)."""

    @contextlib.contextmanager
    def open_device(name, device_id=0, arithmetic=None, system=None, mesh=None):
        with contextlib.ExitStack() as stack:
            if name == "emulated":
                stack.enter_context(ttnn_emulator.arithmetic_settings(arithmetic))
            yield device

    monkeypatch.setattr(backend, "open_device", open_device)

    def run(*options, model=MODEL):
        try:
            status = command.main([*map(str, (*model, *options)), "--backend", backend_name])
        except SystemExit as exit:
            status = exit.code
        return status, *capsys.readouterr()

    return run


def test_a_search_is_printed_written_and_resumed(run, tmp_path, monkeypatch):
    monkeypatch.setenv("PHI3_GOLDENS", str(tmp_path / "kept"))
    files = ("--json", tmp_path / "found.json", "--html", tmp_path / "found.html")
    status, out, _ = run(*SHORT, "--budget", "kl=0.05", "--arithmetic", "rounded", *files)
    assert status in (0, 1)
    assert "as it is: KL " in out
    assert "KL that a knob adds alone" in out
    assert "within kl <= 0.05: weights" in out
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["settings"]
    assert found["chosen"]["kl"] <= 0.05
    assert found["chosen"]["weight_bytes"] < found["points"][0]["weight_bytes"]
    assert len(found["points"]) <= 7
    assert len(found["check"]) == 2
    assert from_file(tmp_path / "found.json").layers
    page = (tmp_path / "found.html").read_text()
    assert "What to change" in page
    assert "Sensitivity" in page
    assert "<svg" in page
    measured = []
    once = measuring.measure
    monkeypatch.setattr(measuring, "measure", lambda *a: measured.append(a) or once(*a))
    again = run(*SHORT, "--budget", "kl=0.05", "--arithmetic", "rounded")
    assert again[1] == out
    assert len(measured) == 2  # the model as it is, on the prompts of the search and of the check


def test_sensitivities_alone(run):
    status, out, _ = run(*SHORT, "--sensitivity", "--arithmetic", "rounded", "--no_reuse")
    assert status == 0
    assert "KL that a knob adds alone" in out
    assert "front" not in out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--budget", "kl"], "'kl' is no budget: kl=0.001"),
        (["--budget", "speed=3"], "'speed=3' is no budget"),
        (["--budget", "top1=1.5"], "'1.5' is not a share from 0 to 1"),
        (["--budget", "kl=nan"], "'nan' is not a KL divergence in nats"),
        (["--minimize", "joy"], "invalid choice: 'joy'"),
        (["--prompt_tokens", "1"], "a prompt and a token after it are two"),
        (["--prompt_tokens", "999"], "--max_seq_len is 256"),
        (["--json", "/nowhere/found.json"], "--json: "),
    ],
)
def test_wrong_use_is_one_sentence(run, options, said):
    status, out, err = run(*options)
    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_a_budget_that_the_unchanged_model_misses(run):
    options = ("--budget", "kl=0.0000001", "--arithmetic", "rounded", "--no_reuse")
    status, out, err = run(*SHORT, *options)
    assert (status, out) == (2, "")
    assert err.startswith("error: the unchanged model has kl ")
    assert err.count("\n") == 1


def test_a_model_of_no_products_cannot_be_told(run, tmp_path):
    (tmp_path / "model.py").write_text(
        "from types import SimpleNamespace\n"
        "import torch, ttnn\n"
        "def build_model(hf_model, device, max_seq_len):\n"
        "    def model(input_ids, past_key_values=None, use_cache=True):\n"
        "        x = ttnn.from_torch(input_ids.float(), dtype=ttnn.bfloat16, device=device)\n"
        "        ttnn.add(ttnn.to_layout(x, ttnn.TILE_LAYOUT), 1.0)\n"
        "        out = hf_model(input_ids, past_key_values=past_key_values)\n"
        "        return SimpleNamespace(logits=out.logits, past_key_values=out.past_key_values)\n"
        "    return model\n"
    )
    model = (str(tmp_path / "model.py"), *MODEL[1:])
    status, out, err = run(*SHORT, "--no_reuse", model=model)
    assert (status, out) == (125, "")
    assert "could not tell: no product of the model" in err
