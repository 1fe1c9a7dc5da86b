"""The Python of the pages: whole programs run, a test of a page passes, what is a part compiles."""

import os
import re
import subprocess
import sys

import pytest

from tests.documentation import markdown
from tests.documentation.markdown import PAGES
from tests.support.checkpoint import ROOT

BLOCKS = [
    pytest.param(fence.text, id=f"{markdown.name(page)}-{number}")
    for page in PAGES
    for number, fence in enumerate(markdown.fences(page.read_text()))
    if fence.language == "python"
]


def runs_by_itself(text):
    """A program of its own, that opens a device and prints."""
    return re.search(r"open_(mesh_)?device\(", text) is not None and "print(" in text


def is_a_test(text):
    return "\ndef test_" in text


def called(*args, cwd):
    """Output of Python's run in a folder; it must succeed."""
    environment = {n: v for n, v in os.environ.items() if not n.startswith(("PYTEST_", "COV_"))}
    done = subprocess.run(
        [sys.executable, *args],
        check=False,
        cwd=cwd,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("text", BLOCKS)
def test_it_compiles(text):
    compile(text, "a page", "exec")


@pytest.mark.parametrize("text", [p for p in BLOCKS if runs_by_itself(p.values[0])])
def test_a_program_runs(text, tmp_path):
    (tmp_path / "program.py").write_text(text)
    assert called(tmp_path / "program.py", cwd=ROOT).strip()


def test_the_test_of_a_page_passes_with_the_conftest_of_the_page(tmp_path):
    """Those of the page on other repositories."""
    blocks = [param.values[0] for param in BLOCKS]
    (conftest,) = (text for text in blocks if "pytest_plugins" in text)
    (test,) = (text for text in blocks if is_a_test(text))
    (tmp_path / "conftest.py").write_text(conftest)
    (tmp_path / "test_page.py").write_text(test)
    options = ("-p", "no:cacheprovider", "--backend", "emulated", "--arithmetic", "rounded")
    assert "1 passed" in called("-m", "pytest", *options, "test_page.py", cwd=tmp_path)


def test_there_are_programs_and_a_test():
    texts = [param.values[0] for param in BLOCKS]
    assert sum(map(runs_by_itself, texts)) >= 2
    assert sum(map(is_a_test, texts)) == 1
