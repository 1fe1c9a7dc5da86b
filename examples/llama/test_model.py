"""The whole suite on model.py, with a checkpoint made for it: pytest examples/llama."""

import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).parent


def test_the_suite_passes(tmp_path):
    subprocess.run([sys.executable, HERE / "checkpoint.py", tmp_path], check=True)
    options = [f"--model-file={HERE / 'model.py'}", f"--model={tmp_path}"]
    options += [f"--prompt-ids-file={tmp_path / 'prompt.txt'}"]
    suite = [sys.executable, "-m", "pytest", "--pyargs", "ttnn_verify.suite", *options]
    subprocess.run(suite, check=True)
