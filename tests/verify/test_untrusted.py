"""A checkpoint is data, none of its code is run; and the network is used where one asks for it."""

import json
import os
import pathlib
import pickle
import subprocess
import sys

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.support.checkpoint import CHECKPOINT, ROOT
from ttnn_verify.huggingface import inputs

# Every module of a hostile checkpoint: it says that it was run, by a file.
HOSTILE = """
import pathlib
pathlib.Path({marker!r}).touch()
from transformers import LlamaConfig as Config, LlamaForCausalLM as Model
from transformers import PreTrainedTokenizerFast as Tokenizer
def generate(*args, **kwargs): return None
"""


class Planted:
    """Unpickled, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


@pytest.fixture
def marker(tmp_path):
    """The file that is there once something hostile was run."""
    return tmp_path / "ran"


@pytest.fixture
def hostile(tmp_path, marker):
    """A checkpoint of a small Llama with modules of its own. Returns its folder."""
    folder = tmp_path / "checkpoint"
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    (folder / "custom_generate").mkdir()
    for name in ("hostile.py", "__init__.py", "conftest.py", "custom_generate/generate.py"):
        (folder / name).write_text(HOSTILE.format(marker=str(marker)))
    return folder


def alter(folder, name, **entries):
    """Change entries of a JSON file of a checkpoint."""
    file = folder / name
    content = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(content | entries))


AUTO_MAP = {
    "AutoConfig": "hostile.Config",
    "AutoModelForCausalLM": "hostile.Model",
    "AutoTokenizer": ["hostile.Tokenizer", "hostile.Tokenizer"],
}


@pytest.mark.parametrize("kind", ["llama", "hostile"])
def test_modules_that_a_configuration_names_are_not_run(kind, hostile, marker):
    alter(hostile, "config.json", auto_map=AUTO_MAP, model_type=kind)
    alter(hostile, "tokenizer_config.json", auto_map=AUTO_MAP, tokenizer_class="Tokenizer")
    checkpoint = inputs.find_checkpoint(str(hostile))
    if kind == "llama":  # transformers has a model of its own
        assert type(checkpoint.hf_model()) is LlamaForCausalLM
        checkpoint.hf_model().generate(torch.tensor([[5]]), max_new_tokens=1)
    else:
        with pytest.raises(inputs.BadInput, match="is refused"):
            checkpoint.config()
        with pytest.raises(inputs.BadInput):
            checkpoint.hf_model()
    with pytest.raises(inputs.BadInput, match="no tokenizer"):
        checkpoint.tokenizer()
    assert not marker.exists()


TRUSTING = """
import sys, transformers
transformers.AutoConfig.from_pretrained(sys.argv[1], trust_remote_code=True)
"""


def test_hostile_modules_are_run_by_whoever_trusts_them(hostile, marker, tmp_path):
    """The other tests could not fail if these modules did nothing."""
    alter(hostile, "config.json", auto_map=AUTO_MAP)
    environment = os.environ | {"HF_MODULES_CACHE": str(tmp_path / "modules")}
    command = [sys.executable, "-c", TRUSTING, str(hostile)]
    subprocess.run(command, env=environment, capture_output=True, check=True)
    assert marker.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_weights_run_nothing(zipped, hostile, marker):
    (hostile / "model.safetensors").unlink()
    weights = hostile / "pytorch_model.bin"
    if zipped:
        torch.save({"model.norm.weight": Planted(marker)}, weights)
    else:
        weights.write_bytes(pickle.dumps({"model.norm.weight": Planted(marker)}, 2))
    with pytest.raises(inputs.BadInput, match="its pickled file holds more"):
        inputs.find_checkpoint(str(hostile)).hf_model()
    assert not marker.exists()
    torch.load(weights, weights_only=False) if zipped else pickle.loads(weights.read_bytes())
    assert marker.exists()


def test_pickled_weights_that_are_weights_are_read(hostile):
    model = inputs.find_checkpoint(str(hostile)).hf_model()
    (hostile / "model.safetensors").unlink()
    torch.save(model.state_dict(), hostile / "pytorch_model.bin")
    again = inputs.find_checkpoint(str(hostile)).hf_model()
    assert torch.equal(again.lm_head.weight, model.lm_head.weight)


@pytest.mark.parametrize("name", ["attn_implementation", "_attn_implementation"])
def test_kernels_of_the_hub_are_refused(name, hostile):
    alter(hostile, "config.json", **{name: "no-such-org/kernels"})
    checkpoint = inputs.find_checkpoint(str(hostile))
    for load in (checkpoint.config, checkpoint.hf_model):
        with pytest.raises(inputs.BadInput, match="asks for kernels 'no-such-org/kernels'"):
            load()


# --- the network ---------------------------------------------------------------------------------

# Runs a command line, refuses every socket that leads out of the machine, and prints the attempts.
GUARD = """
import runpy, socket, sys

def guard(event, args):
    out = event in ("socket.getaddrinfo", "socket.gethostbyname")
    if event in ("socket.connect", "socket.bind", "socket.sendto"):
        out = args[0].family in (socket.AF_INET, socket.AF_INET6)
    if out:
        print("network:", event, file=sys.stderr, flush=True)
        raise OSError("no network in this test")

sys.addaudithook(guard)
sys.argv = sys.argv[1:]
if sys.argv[0] == "-m":
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
else:
    runpy.run_path(sys.argv[0], run_name="__main__")
"""

MODEL_PY = "models/microsoft/Phi-3-mini-128k-instruct/n150/functional/model.py"
ABSENT = "no-such-org/no-such-model"

ASKING_FOR_NOTHING = {
    "eval": ["eval.py", MODEL_PY, "--model", ABSENT],
    "run_eval": ["scripts/run_eval.py", "--mode", "tt", "--hf-model", ABSENT],
    "drift": ["-m", "ttnn_verify.drift", MODEL_PY, "--model", ABSENT],
    "suite": [
        *("-m", "pytest", "--pyargs", "ttnn_verify.suite", "-p", "no:cacheprovider"),
        *(f"--model-file={MODEL_PY}", f"--model={ABSENT}"),
    ],
}


def guarded(*command, **environment):
    """A command whose sockets are guarded, in an environment that says nothing of a hub."""
    names = ("PATH", "HOME", "OMP_WAIT_POLICY", "TMPDIR")
    inherited = {name: value for name, value in os.environ.items() if name in names}
    return subprocess.run(
        [sys.executable, "-c", GUARD, *command],
        cwd=ROOT,
        env=inherited | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("command", ASKING_FOR_NOTHING.values(), ids=ASKING_FOR_NOTHING)
def test_a_checkpoint_that_is_not_here_is_not_looked_for_elsewhere(command):
    result = guarded(*command)
    assert "network:" not in result.stderr
    assert f"no checkpoint '{ABSENT}'" in result.stderr
    assert "--download" in result.stderr
    assert result.returncode in (2, pytest.ExitCode.USAGE_ERROR)


def test_who_asks_for_a_download_has_one_tried():
    result = guarded(*ASKING_FOR_NOTHING["eval"], "--download")
    assert "network:" in result.stderr
    assert result.returncode == 2


def test_a_run_uses_no_network():
    options = ["--max_new_tokens", "2", "--prompt", "In the beginning", "--arithmetic", "rounded"]
    result = guarded("eval.py", MODEL_PY, "--model", str(CHECKPOINT), *options)
    assert "Verdict:" in result.stdout, result.stderr
    assert "network:" not in result.stderr


def test_weights_of_the_cache_that_are_pickled_are_not_looked_for_elsewhere(hostile, tmp_path):
    """transformers asks the hub whether somebody has converted them, were it not told not to."""
    (hostile / "model.safetensors").unlink()
    cache = tmp_path / "hub"
    snapshot = cache / "models--no-such-org--pickled" / "snapshots" / ("0" * 40)
    snapshot.parent.mkdir(parents=True)
    hostile.rename(snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
    weights = LlamaForCausalLM(LlamaConfig.from_pretrained(snapshot)).state_dict()
    torch.save(weights, snapshot / "pytorch_model.bin")
    ids = tmp_path / "ids"
    ids.write_text("5 6 7")
    options = ["--cache_dir", str(cache), "--prompt_ids_file", str(ids), "--max_new_tokens", "1"]
    result = guarded("eval.py", MODEL_PY, "--model", "no-such-org/pickled", *options)
    assert "network:" not in result.stderr
    # only the model file has no use for it
    assert "could not tell" in result.stderr
    assert result.returncode == 125
