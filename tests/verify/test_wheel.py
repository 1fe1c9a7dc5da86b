"""The wheel, installed where nothing of this tree is: its commands, its data, its pytest plugin.

Its dependencies are those of the environment that the tests run in.
"""

import os
import pathlib
import re
import shutil
import site
import subprocess
import sys
import sysconfig
import venv
import zipfile

import pytest

from tests.support.checkpoint import CHECKPOINT, ROOT

SOURCES = ("pyproject.toml", "README.md", "LICENSE", "ttnn_emulator", "ttnn_verify")
NOT_SOURCES = shutil.ignore_patterns("__pycache__", "*.nbi", "*.nbc")

SCRIPT = """
import torch, ttnn
device = ttnn.open_device(device_id=0)
x = ttnn.from_torch(torch.ones(32, 32), layout=ttnn.TILE_LAYOUT, device=device)
print("sum", float(ttnn.to_torch(ttnn.add(x, x)).sum()))
ttnn.close_device(device)
"""


def called(*args, **kwargs):
    """Run a command; its output if it succeeds."""
    done = subprocess.run(args, check=False, capture_output=True, text=True, **kwargs)
    assert done.returncode == 0, f"{args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of the sources, since a build leaves files among them."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        path = pathlib.Path(ROOT, name)
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=NOT_SOURCES)
        else:
            shutil.copy(path, source)
    pip = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet")
    called(*pip, "--wheel-dir", folder, source)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """(Run a program of an environment in an empty folder, the folder)."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder / "env", with_pip=False)
    purelib = sysconfig.get_path("purelib", "venv", {"base": folder / "env"})
    pip = (sys.executable, "-m", "pip", "--python", folder / "env")
    called(*pip, "install", "--no-deps", "--quiet", wheel)
    # what is there already comes after, and its own .pth files, an editable tree's say, do not
    pathlib.Path(purelib, "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    empty = folder / "empty"
    empty.mkdir()
    apart = ("PYTHON", "PYTEST_", "COV_", "TT_METAL_SIMULATOR")
    environment = {name: x for name, x in os.environ.items() if not name.startswith(apart)}
    environment["PHI3_GOLDENS"] = str(folder / "goldens")

    def run(program, *args):
        path = folder / "env" / "bin" / program
        return called(path, *args, cwd=empty, env=environment)

    return run, empty


def test_the_wheel_has_the_data_and_nothing_else_on_top(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "ttnn_emulator",
        "ttnn_verify",
    }
    assert {"ttnn_verify/py.typed", "ttnn_emulator/py.typed"} <= set(names)
    assert any(name.startswith("ttnn_verify/prompts/") for name in names)


def test_a_script_runs(installed):
    run, folder = installed
    (folder / "script.py").write_text(SCRIPT)
    assert "sum 2048.0" in run("ttnn-emulate", "script.py")
    where = "import ttnn_verify; print(ttnn_verify.__path__[0])"
    assert ROOT not in pathlib.Path(run("python", "-c", where).strip()).parents


@pytest.fixture(scope="module")
def model_file(installed):
    """That of docs/model-file.md."""
    page = pathlib.Path(ROOT, "docs/model-file.md").read_text()
    (code,) = re.findall(r"```python\n(import types\n.*?)```", page, flags=re.DOTALL)
    path = installed[1] / "model.py"
    path.write_text(code)
    return path.name


ROUNDED = ("--backend", "emulated", "--arithmetic", "rounded")


def test_a_model_is_scored(installed, model_file):
    run, _ = installed
    asked = ("--model", CHECKPOINT, "--max_new_tokens", "2", *ROUNDED)
    assert "top-1" in run("ttnn-eval", model_file, *asked).lower()


def test_drift_is_looked_for(installed, model_file):
    run, _ = installed
    asked = ("--model", CHECKPOINT, "--first", "--prompt_tokens", "12", *ROUNDED)
    assert "no drift" in run("ttnn-drift", model_file, *asked)


@pytest.mark.parametrize(("command", "shows"), [("baseline", "diff"), ("precision", "--budget")])
def test_a_command_starts(command, shows, installed):
    run, _ = installed
    assert shows in run(f"ttnn-{command}", "--help")


def test_pytest_finds_the_suite(installed, model_file):
    run, _ = installed
    asked = (f"--model-file={model_file}", f"--model={CHECKPOINT}", *ROUNDED, "-k", "head-logits")
    out = run("python", "-m", "pytest", "--pyargs", "ttnn_verify.suite", *asked)
    assert re.search(r"\d+ passed", out), out
