"""Who may import whom: tests -> verify -> model, emulator; arithmetic knows nothing of ttnn."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
OURS = {"ttnn_emulator", "model", "ttnn_verify", "tests", "scripts", "eval"}

# folder -> what a file in it may not import
FORBIDDEN = {
    "model": OURS - {"model"},
    "ttnn_emulator": OURS - {"ttnn_emulator"},
    "ttnn_emulator/arithmetic": {"ttnn", "transformers"},
    "ttnn_verify": {"tests", "scripts", "eval"},
}


def imported(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_arrows_go_one_way(folder):
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files, f"{folder}/ has no Python files: the rule would check nothing."
    wrong = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in files
        for name in imported(file)
        if name.split(".")[0] in FORBIDDEN[folder]
    ]
    assert not wrong


def test_arithmetic_imports_nothing_else_of_the_emulator():
    wrong = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in (ROOT / "ttnn_emulator/arithmetic").rglob("*.py")
        for name in imported(file)
        if name.startswith("ttnn_emulator") and not name.startswith("ttnn_emulator.arithmetic")
    ]
    assert not wrong
