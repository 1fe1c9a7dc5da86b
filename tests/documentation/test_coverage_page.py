"""docs/coverage.md is what the emulator and its recordings say today."""

import pytest
import ttnn

import ttnn_emulator
from tests.documentation import markdown
from tests.support.checkpoint import ROOT
from ttnn_emulator import coverage, evidence
from ttnn_emulator.coverage import __main__ as command
from ttnn_emulator.coverage import operations, page
from ttnn_emulator.fidelity import recordings
from ttnn_emulator.ops import BINDINGS


@pytest.fixture(scope="module")
def rows(device, backend_name):
    if backend_name != "emulated":
        pytest.skip("the page is of the emulator")
    with ttnn_emulator.arithmetic_settings("kernel"):
        return {row.operation: row for row in coverage.rows(device)}


def test_the_page_is_up_to_date(rows):
    text = (ROOT / "docs/coverage.md").read_text()
    renewed = "\n".join(page.lines(list(rows.values()))) + "\n"
    assert text == renewed, "run python -m ttnn_emulator.coverage --write"


def test_every_registered_operation_has_a_row(rows):
    registered = ttnn.query_registered_operations(include_experimental=True)
    assert rows.keys() == {operation.python_fully_qualified_name for operation in registered}


def test_what_is_bound_and_nothing_else_is_emulated(rows):
    computed = {name for name, row in rows.items() if row.basis in evidence.STATUSES}
    assert computed == set(BINDINGS)


def test_every_recording_is_named_once_for_each_operation_of_it(rows):
    """A recording of a norm across chips is of statistics, a gather and the norm."""
    named = sorted((row.operation, path) for row in rows.values() for path in row.recordings)
    noted = {
        (operation, path)
        for operation, settings in evidence.recorded().items()
        for of_setting in settings.values()
        for paths in of_setting.values()
        for path in paths
    }
    assert named == sorted(noted)
    assert {path for _, path in noted} <= {case.path for case in recordings.all_cases()}


@pytest.mark.parametrize(
    ("name", "basis"),
    [
        ("ttnn.linear", "recorded"),
        ("ttnn.clamp", "derived"),
        ("ttnn.cbrt", "derived"),  # by a plain call
        ("ttnn.erf", "recorded"),
        ("ttnn.rand", "approximate"),  # by a plain call
        ("ttnn.from_torch", "host"),
        ("ttnn.to_torch", "composed"),
        ("ttnn.conv2d", "refused"),
    ],
)
def test_the_basis_of_an_operation(rows, name, basis):
    assert rows[name].basis == basis


def test_an_operation_without_a_plain_call_is_an_error(monkeypatch):
    """It would count as derived, whatever it computes."""
    monkeypatch.setattr(operations, "CALLS", {})
    monkeypatch.setattr(operations, "_guesses", lambda name, opened: [])
    with pytest.raises(ValueError, match="no plain call is known"):
        operations.plain_call(ttnn.cbrt, "ttnn.cbrt", None)


def test_writing_without_a_clone_is_refused(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(command, "PAGE", tmp_path / "docs" / "coverage.md")
    with pytest.raises(SystemExit) as ended:
        command.main(["--write"])
    assert ended.value.code == 2
    assert f"there is no {tmp_path / 'docs'}" in capsys.readouterr().err


def test_the_page_is_linked():
    assert "coverage.md" in " ".join(markdown.links(markdown.README.read_text()))
