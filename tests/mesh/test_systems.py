"""Commands and scripts on several chips: --system, and MESH_SHAPE of the model file."""

import os
import subprocess
import sys

import pytest

from tests.support.checkpoint import CHECKPOINT, ROOT
from ttnn_verify import cli, eval_command

BRINGUPS = ROOT / "models/microsoft/Phi-3-mini-128k-instruct"
SHORT = ("--prompt_ids_file", "ids.txt", "--max_new_tokens", "2", "--arithmetic", "rounded")


def run(*words, folder):
    (folder / "ids.txt").write_text(" ".join(map(str, range(5, 25))))
    return subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def evaluate(model_file, *options, folder):
    words = (ROOT / "eval.py", model_file, "--model", CHECKPOINT, *SHORT, *options)
    return run(*words, folder=folder)


def test_eval_opens_the_smallest_system_that_holds_the_mesh(tmp_path):
    ended = evaluate(BRINGUPS / "n300/optimized/model.py", folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "emulated n300, 1x2 chips, rounded arithmetic" in ended.stdout


def test_a_model_without_a_mesh_has_one_chip_of_a_system(tmp_path):
    one = BRINGUPS / "n150/functional/model.py"
    ended = evaluate(one, "--system", "n300", folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "emulated n300, rounded arithmetic" in ended.stdout


@pytest.mark.parametrize(
    ("shape", "options", "said"),
    [
        ("(1, 8)", ("--system", "n300"), "MESH_SHAPE (1, 8) is 8 chips: an n300 has 2."),
        ("(4, 8)", (), "MESH_SHAPE (4, 8) is 32 chips: a t3000, the largest"),
        ("(1, 0)", (), "MESH_SHAPE is (1, 0); it is two whole numbers of at least 1"),
        ("'1x8'", (), "MESH_SHAPE is '1x8'; it is two whole numbers"),
        ("(True, 2)", (), "MESH_SHAPE is (True, 2); it is two whole numbers"),
        ("(1, 2)", ("--device_id", "1"), "device 1: MESH_SHAPE (1, 2) takes chips from device 0"),
    ],
)
def test_a_mesh_that_is_not_there_is_wrong_use(shape, options, said, tmp_path, capsys):
    model_file = tmp_path / "odd.py"
    model_file.write_text(f"MESH_SHAPE = {shape}\ndef build_model(model, device, length): ...\n")
    words = (str(model_file), "--model", str(CHECKPOINT), *options)
    assert eval_command.main(words) == cli.WRONG_USE
    refused = capsys.readouterr().err
    assert refused.startswith(f"error: {said}")
    assert refused.count("\n") == 1


def test_a_script_runs_on_a_system(tmp_path):
    script = tmp_path / "count.py"
    script.write_text("import ttnn\nprint(ttnn.get_num_devices())\n")
    ended = run("-m", "ttnn_emulator", "--system", "t3000", script, folder=tmp_path)
    assert ended.stdout == "8\n", ended.stderr
