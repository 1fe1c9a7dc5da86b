"""Files of results are looked at before the work: one that cannot be written is refused at once.

The tests run as root, too, to whom permissions do not apply: /proc takes files from nobody.
"""

import os
import pathlib
import socket

import pytest

from ttnn_verify import cli
from ttnn_verify.drift import __main__ as drift_command
from ttnn_verify.files import atomic, output_paths

pytest_plugins = ["pytester"]


def device(folder):
    return pathlib.Path("/dev/full")


def fifo(folder):
    os.mkfifo(folder / "fifo")
    return folder / "fifo"


def listening(folder):
    place = folder / "socket"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(place))  # a socket's path is short
    return place


def directory(folder):
    (folder / "there").mkdir()
    return folder / "there"


def within_a_file(folder):
    (folder / "file").write_text("")
    return folder / "file" / "result"


def link(folder, target):
    (folder / "link").symlink_to(target)
    return folder / "link"


# Name -> (makes a path in a folder, what is said of it).
REFUSED = {
    "device": (device, "is a device"),
    "fifo": (fifo, "is a pipe"),
    "socket": (listening, "is a socket"),
    "folder": (directory, "is a folder"),
    "within a file": (within_a_file, "is not a folder"),
    "read-only": (lambda folder: pathlib.Path("/proc/result"), "a folder of the system's"),
    "below read-only": (
        lambda folder: pathlib.Path("/proc/a/b/result"),
        "a folder of the system's",
    ),
    "link to nothing": (lambda folder: link(folder, folder / "nothing"), "where nothing is"),
    "link to a device": (lambda folder: link(folder, "/dev/null"), "leads to a device"),
    "link to a folder": (lambda folder: link(folder, folder), "leads to a folder"),
    "link to itself": (lambda folder: link(folder, "link"), "in a circle"),
    "no name": (lambda folder: "", "is empty"),
    "null character": (lambda folder: f"{folder}/a\0b", "null"),
    "too long": (lambda folder: folder / ("x" * 300), "File name too long"),
    "too long beside": (lambda folder: folder / ("x" * 250), "File name too long"),
}


@pytest.fixture(params=REFUSED)
def refused(request, tmp_path, monkeypatch):
    """A path that cannot be written, and what is said of it."""
    monkeypatch.chdir(tmp_path)
    make, says = REFUSED[request.param]
    return make(tmp_path), says


def test_what_cannot_be_written_is_refused_in_a_sentence(refused):
    path, says = refused
    sentence = output_paths.unwritable(path, make_folder=True)
    assert says in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_what_can_be_written_is_not_refused_and_nothing_is_left(tmp_path):
    (tmp_path / "there").write_text("old")
    (tmp_path / "link").symlink_to("there")
    for name in ("new", "there", "link"):
        assert output_paths.unwritable(tmp_path / name) == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "there"]
    assert (tmp_path / "there").read_text() == "old"


def test_a_missing_folder_is_made_only_if_asked_for(tmp_path):
    path = tmp_path / "a" / "b" / "result"
    assert "no such folder" in output_paths.unwritable(path)
    assert output_paths.unwritable(path, make_folder=True) == ""
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_permission_is_refused(tmp_path, monkeypatch):
    def denied(**kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(output_paths.tempfile, "mkstemp", denied)
    assert "Permission denied" in output_paths.unwritable(tmp_path / "result")


# --- drift ---------------------------------------------------------------------------------------

NO_MODEL = ("nowhere.py", "--model", "nowhere")  # what comes first is said first


@pytest.mark.parametrize("option", ["--json", "--html"])
def test_drift_refuses_it_before_anything_else(refused, option, capsys):
    path, says = refused
    assert drift_command.main([*NO_MODEL, option, str(path)]) == cli.WRONG_USE
    line = capsys.readouterr().err
    assert line.startswith(f"error: {option}: ") or "no such folder" in line
    assert says in line or "no such folder" in line
    assert line.count("\n") == 1


def test_drift_refuses_one_file_for_two_results(tmp_path, capsys):
    path = str(tmp_path / "result")
    assert drift_command.main([*NO_MODEL, "--json", path, "--html", path]) == cli.WRONG_USE
    assert "the same file" in capsys.readouterr().err


@pytest.mark.parametrize("folder", ["/proc/reproducer", "/dev/full", "/proc"])
def test_drift_refuses_a_reproducer_that_cannot_be_written(folder, capsys):
    assert drift_command.main([*NO_MODEL, "--reproduce", folder]) == cli.WRONG_USE
    line = capsys.readouterr().err
    assert line.startswith("error: ")
    assert folder[:5] in line


# --- pytest --------------------------------------------------------------------------------------

PLUGINS = 'pytest_plugins = ["ttnn_verify.pytest_plugins.tools"]\n'
NEVER = "def test_never_runs():\n    raise SystemExit(5)\n"


@pytest.mark.parametrize("option", ["--report", "--pcc-record", "--junit-xml"])
@pytest.mark.parametrize("name", ["device", "within a file", "read-only", "link to nothing"])
def test_pytest_refuses_it_before_any_test_runs(name, option, pytester):
    make, says = REFUSED[name]
    path = make(pytester.path)
    pytester.makeconftest(PLUGINS)
    pytester.makepyfile(NEVER)
    result = pytester.runpytest(f"{option}={path}", "-p", "no:cacheprovider")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    line = next(line for line in result.errlines if line.startswith("ERROR: "))
    assert option in line
    assert says in line


@pytest.mark.parametrize("option", ["--report", "--pcc-record"])
def test_pytest_makes_a_missing_folder(option, pytester):
    pytester.makeconftest(PLUGINS)
    pytester.makepyfile("def test_passes(): pass")
    result = pytester.runpytest(f"{option}=a/b/result", "-p", "no:cacheprovider")
    assert result.ret == pytest.ExitCode.OK
    assert (pytester.path / "a/b/result").is_file()


@pytest.mark.parametrize("option", ["--report", "--pcc-record"])
def test_a_disk_that_is_full_by_then_loses_no_summary(option, pytester, monkeypatch):
    def full(path, text):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(atomic, "write_text", full)
    pytester.makeconftest(PLUGINS)
    pytester.makepyfile("def test_passes(): pass")
    result = pytester.runpytest(f"{option}=result", "-p", "no:cacheprovider")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["not written: *result*: No space left on device."])


def test_pytest_refuses_one_file_for_two_results(pytester):
    pytester.makeconftest(PLUGINS)
    result = pytester.runpytest("--report=r", "--pcc-record=r", "-p", "no:cacheprovider")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--report and --pcc-record name the same file, 'r'*"])
