"""`make` keeps a torch that someone chose: any build that is not PyPI's."""

import pathlib
import re
import subprocess
import sys
import venv
import zipfile

import pytest

from tests.support.checkpoint import ROOT

SCRIPT = pathlib.Path(ROOT, "scripts/constraints.py")


@pytest.fixture
def environment(tmp_path):
    """(Python of an empty environment, install a torch of a version there)."""
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"

    def install(version):
        built = tmp_path / f"torch-{version}-py3-none-any.whl"
        info = f"torch-{version}.dist-info"
        files = {
            "torch/__init__.py": "",
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        listed = "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD"))
        with zipfile.ZipFile(built, "w") as wheel:
            for name, text in {**files, f"{info}/RECORD": listed}.items():
                wheel.writestr(name, text)
        assert pip(python, "--no-deps", built).returncode == 0

    return python, install


def pip(python, *args):
    """pip install in that environment, without any index."""
    command = [sys.executable, "-m", "pip", "--python", python, "install", "--no-index", *args]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def constraints(python):
    return subprocess.run([python, SCRIPT], check=False, capture_output=True, text=True)


@pytest.mark.parametrize("version", ["2.14.1+cpu", "2.9.0+cpu", "2.6.0+debian"])
def test_a_torch_that_is_not_pypis_stays(environment, tmp_path, version):
    python, install = environment
    install(version)
    done = constraints(python)
    assert f"torch {version}, which stays" in done.stderr
    (tmp_path / "constraints.txt").write_text(done.stdout)
    # without an index pip can only keep what is there
    kept = pip(python, "--constraint", tmp_path / "constraints.txt", "torch")
    assert (kept.returncode, kept.stderr) == (0, "")
    assert "Requirement already satisfied: torch" in kept.stdout


@pytest.mark.parametrize("version", [None, "2.9.0"], ids=["none", "an-older-one-of-pypi"])
def test_any_other_torch_is_that_of_the_constraints(environment, version):
    python, install = environment
    if version:
        install(version)
    assert constraints(python).stdout == pathlib.Path(ROOT, "constraints.txt").read_text()


def test_a_torch_that_is_too_old_is_refused_by_name(environment):
    python, install = environment
    install("2.5.1+cpu")
    done = constraints(python)
    assert (done.returncode, done.stdout) == (1, "")
    assert "torch 2.5.1+cpu" in done.stderr
    assert "2.6" in done.stderr


def test_make_installs_by_the_constraints_of_the_environment():
    """What it would run, in order."""
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", ".venv/.ready"],
        check=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert re.search(
        r"scripts/constraints\.py > (\S+) .*pip install .*--constraint \1 ", done.stdout, re.DOTALL
    )
