"""The examples hold what is said of them, from a clone, with the commands that stand there."""

import os
import subprocess
import sys

import pytest

from tests.support.checkpoint import ROOT

LLAMA = ROOT / "examples/llama"
OF_PYTEST = ("PYTEST_", "COV_")


def called(*args):
    """(exit status, output) of Python's run at the root."""
    environment = {n: v for n, v in os.environ.items() if not n.startswith(OF_PYTEST)}
    done = subprocess.run(
        [sys.executable, *args],
        check=False,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


def written(path):
    """Lines of a file, but empty ones."""
    return [line for line in path.read_text().splitlines() if line.strip()]


def test_the_bring_up_and_its_test_are_short():
    assert len(written(LLAMA / "model.py")) <= 150
    code = written(LLAMA / "test_model.py")
    assert len([line for line in code if not line.startswith(('"""', "import"))]) <= 10


def test_the_suite_passes():
    """As a user runs it: with the test of the example."""
    status, output = called("-m", "pytest", "-q", "-p", "no:cacheprovider", LLAMA / "test_model.py")
    assert status == 0, output
    assert "1 passed" in output


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    status, output = called(LLAMA / "checkpoint.py", folder)
    assert status == 0, output
    return folder


def test_drift_finds_none(checkpoint):
    """The whole walk: two rows, a filled cache, and 1151 positions."""
    asked = ("--model", checkpoint, "--prompt_ids_file", checkpoint / "prompt.txt")
    status, output = called("-m", "ttnn_verify.drift", LLAMA / "model.py", *asked)
    assert status == 0, output
    assert "left out" not in output
    assert "no-golden 0, tool-error 0" in output


def test_the_checkpoint_needs_a_folder_to_write():
    status, output = called(LLAMA / "checkpoint.py")
    assert (status, output) == (1, "usage: python examples/llama/checkpoint.py FOLDER\n")
