"""`pytest --pyargs ttnn_verify.suite` on wrong inputs: a usage error, or failures in a sentence."""

import os
import shutil
import subprocess
import sys

import pytest
import safetensors.torch
import torch

from tests.support.checkpoint import ROOT
from ttnn_verify import cli, network

from . import tiny_checkpoint

pytest_plugins = ["pytester"]

PLUGIN = "ttnn_verify.pytest_plugins.suite"
HEAD = "lm_head.weight"
ARGUMENTS = (
    *("-p", PLUGIN, "-p", "no:cacheprovider", "--pyargs", "ttnn_verify.suite"),
    *("--model-file=model.py", "--model=checkpoint", "--max-seq-len=32", "--prompt-lengths=5"),
    *("--max-new-tokens=4", "--backend=emulated", "--arithmetic=rounded"),
)


@pytest.fixture
def checkpoint(tiny, pytester, monkeypatch):
    """A copy of the tiny checkpoint, and the right model file beside it."""
    monkeypatch.setattr(network.constants, "HF_HUB_OFFLINE", True)
    for name in ("TT_METAL_SIMULATOR", "PYTEST_XDIST_WORKER"):
        monkeypatch.delenv(name, raising=False)
    (pytester.path / "model.py").write_text(tiny_checkpoint.MODEL_PY)
    return shutil.copytree(tiny, pytester.path / "checkpoint")


def with_weights(checkpoint, **change):
    """Change tensors of a checkpoint."""
    path = checkpoint / "model.safetensors"
    tensors = safetensors.torch.load(path.read_bytes()) | change
    path.write_bytes(safetensors.torch.save(tensors, {"format": "pt"}))


@pytest.mark.parametrize(
    ("name", "contents", "says"),
    [
        ("config.json", b"5", "no JSON object"),
        ("config.json", b'{"model_type": "phi3", "hidden_size": "x"}', "'hidden_size' expected"),
        ("model.safetensors", b"", "are damaged"),
        ("ids", b"5 " + b"9" * 40, "outside of any vocabulary"),
        ("ids", b"[[[5]]]", "token ids are integers"),
    ],
)
def test_a_wrong_file_is_a_usage_error(checkpoint, pytester, name, contents, says):
    (checkpoint / name).write_bytes(contents)
    options = ("--prompt-ids-file=checkpoint/ids",) if name == "ids" else ()
    done = pytester.runpytest(*ARGUMENTS, *options)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in done.errlines if line]
    assert line.startswith("ERROR: ")
    assert says in line


@pytest.mark.parametrize("option", ["--seed=1" + "0" * 26, "--device-id=9" + "9" * 40])
def test_a_number_that_is_too_large_is_a_usage_error(checkpoint, pytester, option):
    done = pytester.runpytest(*ARGUMENTS, option)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert any("a whole number" in line for line in done.errlines)


def test_a_model_file_that_exits_is_one_that_fails(checkpoint, pytester):
    (pytester.path / "model.py").write_text("raise SystemExit(0)\n")
    done = pytester.runpytest(*ARGUMENTS)
    assert done.ret == cli.UNDETERMINED
    done.stderr.fnmatch_lines(["*could not tell: model file *' ends the program: SystemExit: 0 *"])


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (torch.full((64, 64), torch.nan), "Hugging Face's own logits are not finite"),
        (torch.zeros(63, 64), "'lm_head.weight' has shape [63, 64], and the configuration"),
    ],
    ids=["not finite", "another shape"],
)
def test_a_wrong_checkpoint_fails_every_test_in_a_sentence(checkpoint, pytester, head, says):
    with_weights(checkpoint, **{HEAD: head.bfloat16()})
    kept = {name: x for name, x in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    done = subprocess.run(  # it opens a device of its own
        [sys.executable, "-m", "pytest", *ARGUMENTS, "-k", "prefill5 or teacher_forcing"],
        cwd=pytester.path,
        env=kept | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert says in done.stdout
    assert " passed" not in done.stdout.splitlines()[-1]
    assert "Traceback" not in done.stdout + done.stderr
    assert "ERROR collecting" not in done.stdout
