"""Command lines refuse bad input: one line with the value, exit status 2, no device left open.

The status is 125, which `git bisect run` skips, where it is the model file that fails or refuses.
"""

import contextlib
import json
import re
import shutil
import subprocess
import sys

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from scripts import run_eval
from tests.support.checkpoint import CHECKPOINT, ROOT, STAGES, model_file
from ttnn_verify import backend, network, prompt_ids
from ttnn_verify import eval_command as evaluation
from ttnn_verify.huggingface import inputs

MODEL_PY = model_file("optimized")


@pytest.fixture(autouse=True)
def offline_without_card(tmp_path, monkeypatch):
    """No hub, no card; devices are counted instead of opened."""
    monkeypatch.setattr(network.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(backend, "CARDS", tmp_path / "no-cards")
    monkeypatch.delenv("TT_METAL_SIMULATOR", raising=False)


@pytest.fixture
def devices(monkeypatch):
    """Replaces devices by a log of what was opened and closed."""
    log = []

    @contextlib.contextmanager
    def open_device(name, device_id=0, arithmetic=None, system=None, mesh=None):
        log.append("open")
        try:
            yield "device"
        finally:
            log.append("close")

    monkeypatch.setattr(backend, "open_device", open_device)
    return log


@pytest.fixture
def refused(capsys, devices):
    """Run a command line that must be refused. Returns its one line."""

    def run(main, *args, status=2):
        try:
            ended = main([str(arg) for arg in args])
        except SystemExit as exit:
            ended = exit.code
        out, err = capsys.readouterr()
        assert ended == status
        assert out == ""
        first = "error" if status == 2 else "could not tell"
        assert re.fullmatch(rf"{first}: .*\n", err), err
        assert devices in ([], ["open", "close"])
        return err

    return run


@pytest.fixture
def refused_eval(refused):
    def run(*args, model_py=MODEL_PY, model=CHECKPOINT, status=2):
        if not any(str(arg).startswith("--prompt") for arg in args):
            args = ("--prompt", "In the beginning", *args)
        return refused(evaluation.main, model_py, "--model", model, *args, status=status)

    return run


@pytest.fixture
def altered(tmp_path):
    """A copy of the checkpoint's configuration with other values, and nothing else."""

    def make(**values):
        config = json.loads((CHECKPOINT / "config.json").read_text())
        rope = values.pop("rope", None)
        config.update(values)
        if rope:
            config["rope_parameters"].update(rope)
        folder = tmp_path / "altered"
        shutil.copytree(CHECKPOINT, folder)
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    return make


def written(path, content):
    path.write_bytes(content)
    return path


def test_no_model_file(refused_eval):
    assert "'nowhere/model.py'" in refused_eval(model_py="nowhere/model.py")


@pytest.mark.parametrize("content", [b"Once upon a time", b"\x00\x01\x02", b"def build_model(:"])
def test_a_model_file_that_is_not_python(refused_eval, tmp_path, content):
    path = written(tmp_path / "model.py", content)
    assert "is not Python" in refused_eval(model_py=path, status=125)


def test_a_model_file_without_build_model(refused_eval, tmp_path):
    path = written(tmp_path / "model.py", b"def build(hf_model): return hf_model\n")
    line = refused_eval(model_py=path, status=125)
    assert "no build_model(hf_model, tt_device, max_seq_len)" in line


def test_a_model_file_that_raises_when_it_is_imported(refused_eval, tmp_path):
    path = written(tmp_path / "model.py", b"\nimport no_such_module\n")
    line = refused_eval(model_py=path, status=125)
    assert "ModuleNotFoundError: No module named 'no_such_module'" in line
    assert f"({path}:2)" in line


def test_a_bug_in_a_model_file_is_named_with_its_line(refused_eval, tmp_path):
    source = b"def build_model(hf_model, tt_device, max_seq_len):\n    return hf_model.nothing\n"
    path = written(tmp_path / "model.py", source)
    line = refused_eval("--prompt", "In the beginning", model_py=path, status=125)
    assert "AttributeError" in line
    assert "'nothing'" in line
    assert f"({path}:2)" in line


def test_a_model_that_fails_when_it_is_called(refused_eval, tmp_path):
    source = b"""
class Model:
    def __call__(self, input_ids, past_key_values=None, use_cache=True):
        return input_ids / [0]

def build_model(hf_model, tt_device, max_seq_len):
    return Model()
"""
    path = written(tmp_path / "model.py", source)
    line = refused_eval("--max_new_tokens", 1, model_py=path, status=125)
    assert "the model fails: TypeError" in line
    assert f"({path}:4)" in line


@pytest.mark.parametrize(
    "name", ["assets/phi3-tin", "no-such-org/no-such-model", "a/b/c", "../no-such-folder"]
)
def test_no_checkpoint_of_that_name(refused_eval, name):
    line = refused_eval(model=name)
    assert repr(name) in line
    assert "no such folder" in line


def test_a_hub_id_that_is_not_cached(refused_eval, tmp_path):
    line = refused_eval("--cache_dir", tmp_path, model="microsoft/Phi-3-mini-128k-instruct")
    assert "not in the Hugging Face cache" in line


def test_an_empty_cache_folder_is_not_the_current_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert inputs.find_checkpoint("no-such-org/no-such-model", "").cache_dir is None


def test_a_folder_without_a_checkpoint(refused_eval, tmp_path):
    assert "config.json" in refused_eval(model=tmp_path)


def test_a_checkpoint_without_weights(refused_eval, altered):
    folder = altered()
    (folder / "model.safetensors").unlink()
    assert "no weights" in refused_eval(model=folder)


def test_a_checkpoint_that_lacks_weights(refused_eval, altered):
    assert "lacks" in refused_eval(model=altered(num_hidden_layers=5))


def test_a_checkpoint_that_is_not_phi3(refused_eval, tmp_path, capsys):
    ids = written(tmp_path / "ids", b"1 2 3")
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=1,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "llama")
    capsys.readouterr()  # it may have shown a bar
    line = refused_eval("--prompt_ids_file", ids, model=tmp_path / "llama", status=125)
    assert "'llama'" in line
    assert "phi3" in line


@pytest.mark.parametrize("kind", ["linear", "yarn", "dynamic", "llama3"])
def test_another_rope_type(refused_eval, altered, kind):
    line = refused_eval(model=altered(rope={"rope_type": kind, "type": kind}))
    assert repr(kind) in line
    assert "longrope" in line


def test_partial_rotation(refused_eval, altered):
    factors = {name: [1.0] * 24 for name in ("short_factor", "long_factor")}
    model = altered(rope={"partial_rotary_factor": 0.5, **factors})
    line = refused_eval(model=model, status=125)
    assert "partial_rotary_factor is 0.5" in line


def test_another_activation(refused_eval, altered):
    line = refused_eval(model=altered(hidden_act="gelu"), status=125)
    assert "'gelu'" in line
    assert "'silu'" in line


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_prompt(refused_eval, tmp_path, text):
    assert "empty" in refused_eval("--prompt", text)
    assert "empty" in refused_eval("--prompt_file", written(tmp_path / "text", text.encode()))
    assert "empty" in refused_eval("--prompt_ids_file", written(tmp_path / "ids", text.encode()))


@pytest.mark.parametrize("bad", [-1, 2**31])
def test_a_prompt_id_outside_the_vocabulary(refused_eval, tmp_path, bad):
    vocab_size = json.loads((CHECKPOINT / "config.json").read_text())["vocab_size"]
    line = refused_eval("--prompt_ids_file", written(tmp_path / "ids", f"5 {bad} 7".encode()))
    assert f"prompt id {bad}" in line
    assert f"0 to {vocab_size - 1}" in line


def test_prompt_ids_that_are_not_integers(refused_eval, tmp_path):
    for content in (b"5 six 7", b"[5, 6.5]", b'{"ids": 5}', b"[5, null]"):
        assert "integers" in refused_eval("--prompt_ids_file", written(tmp_path / "ids", content))


@pytest.mark.parametrize(
    "content", [b"5 6 7", b"5, 6, 7", b"5\n6\n7\n", b"[5, 6, 7]", b"[[5,6,7]]"]
)
def test_the_forms_prompt_ids_may_have(tmp_path, content):
    ids = prompt_ids.read_ids(written(tmp_path / "ids", content))
    assert torch.equal(ids, torch.tensor([[5, 6, 7]]))


def test_no_prompt_file(refused_eval):
    assert "'nowhere.txt'" in refused_eval("--prompt_file", "nowhere.txt")


def test_a_batch_other_than_one(refused_eval, refused, tmp_path):
    ids = written(tmp_path / "ids", b"[[1, 2], [3, 4]]")
    assert "only 1 is supported" in refused_eval("--prompt_ids_file", ids)
    args = ("--mode", "tt", "--hf-model", "phi3-tiny", "--model-path", CHECKPOINT, "--batch", 2)
    assert "--batch 2: only 1 is supported" in refused(run_eval.main, *args)


def test_more_tokens_than_max_seq_len(refused_eval):
    line = refused_eval("--max_new_tokens", 80, "--max_seq_len", 64)
    assert "80 new" in line
    assert "--max_seq_len is 64" in line


def test_more_tokens_than_the_cache(refused_eval, tmp_path):
    source = b"""
class Model:
    max_length = 96
    def __call__(self, **inputs): raise AssertionError

def build_model(hf_model, tt_device, max_seq_len): return Model()
"""
    path = written(tmp_path / "model.py", source)
    line = refused_eval("--max_new_tokens", 100, model_py=path)
    assert "100 new" in line
    assert "cache is 96" in line


def test_more_positions_than_the_checkpoint_has(refused_eval):
    assert "99999" in refused_eval("--max_seq_len", 99999)


@pytest.mark.parametrize("option", ["--max_new_tokens", "--min_new_tokens", "--max_seq_len"])
def test_counts_that_are_none(refused_eval, option):
    for value in ("0", "-3", "many"):
        line = refused_eval(f"{option}={value}")
        assert option in line
        assert value in line


def test_a_backend_that_does_not_exist_or_is_not_there(refused_eval, refused):
    assert "'gpu'" in refused_eval("--backend", "gpu")
    line = refused_eval("--backend", "silicon")
    assert "'silicon'" in line
    assert "no card" in line
    args = ("--mode", "tt", "--hf-model", "phi3-tiny", "--backend", "silicon")
    assert "no card" in refused(run_eval.main, *args, "--model-path", CHECKPOINT)


def test_a_system_without_a_bringup(refused, capsys):
    args = ("--mode", "tt", "--hf-model", "phi3-tiny", "--model-path", CHECKPOINT)
    line = refused(run_eval.main, *args, "--system", "n9000")
    assert "n9000" in line
    assert "n150" in line


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("hf_model", ["microsoft/Phi-3-mini-128k-instruct", "phi3-tiny"])
def test_a_phi3_runs_on_the_bringup_of_the_stage(stage, hf_model):
    path = run_eval.find_model_file(hf_model, "n150", stage, "phi3")
    assert ROOT / path == model_file(stage)


def test_a_stage_without_a_bringup(refused, tmp_path, monkeypatch):
    there = "models/microsoft/Phi-3-mini-128k-instruct/n150/optimized/model.py"
    (tmp_path / there).parent.mkdir(parents=True)
    written(tmp_path / there, b"")
    monkeypatch.setattr(run_eval, "ROOT", tmp_path)
    args = ("--mode", "tt", "--hf-model", "phi3-tiny", "--model-path", CHECKPOINT)
    line = refused(run_eval.main, *args)
    assert "no model file 'models/phi3-tiny/n150/functional/model.py'" in line
    assert f"there is {there}." in line


@pytest.mark.parametrize("bad", ["", "finest", "Functional", "../optimized"])
def test_a_stage_that_does_not_exist(refused, bad):
    line = refused(run_eval.main, "--mode", "tt", "--hf-model", "phi3-tiny", "--stage", bad)
    assert "--stage" in line
    assert repr(bad) in line
    assert all(stage in line for stage in STAGES)


@pytest.mark.parametrize(
    "command",
    [
        ["eval.py", "nowhere.py", "--model", "assets/phi3-tiny"],
        ["scripts/run_eval.py", "--mode", "hf", "--hf-model", "no-such-org/no-such-model"],
    ],
)
def test_the_process_itself_ends_with_2_and_one_line(command):
    process = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr.startswith("error: ")
    assert process.stderr.count("\n") == 1
