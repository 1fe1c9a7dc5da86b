"""Files are replaced as a whole, and nothing but regular files is replaced."""

import contextlib
import os
import pathlib
import socket
import stat
import subprocess
import sys

import pytest

from tests.support.checkpoint import ROOT
from ttnn_verify.files import atomic


def refused(path):
    """The refusal to write at `path`, which `refusal` foretells."""
    with pytest.raises(atomic.NotReplaceable) as raised:
        atomic.write_text(path, "new")
    assert str(raised.value) == atomic.refusal(path)
    return str(raised.value)


def test_a_new_file_is_made_with_its_folder(tmp_path):
    path = tmp_path / "deep" / "page.html"
    assert atomic.refusal(path) is None
    atomic.write_text(path, "ä")
    assert path.read_bytes() == "ä".encode()
    assert os.listdir(path.parent) == ["page.html"]


def test_a_new_file_has_the_usual_permissions_and_an_old_one_keeps_its_own(tmp_path):
    path, usual = tmp_path / "page", tmp_path / "usual"
    usual.touch()
    atomic.write_text(path, "first")
    assert path.stat().st_mode == usual.stat().st_mode
    path.chmod(0o600)
    atomic.write_text(path, "second")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_to_a_file_stays_and_the_file_is_replaced(tmp_path):
    (tmp_path / "far").mkdir()
    target, link, further = tmp_path / "far/page", tmp_path / "link", tmp_path / "further"
    target.write_text("old")
    link.symlink_to("far/page")
    further.symlink_to(link)
    atomic.write_text(further, "new")
    assert further.is_symlink()
    assert link.is_symlink()
    assert not target.is_symlink()
    assert target.read_text() == "new"
    assert sorted(os.listdir(tmp_path)) == ["far", "further", "link"]
    assert os.listdir(target.parent) == ["page"]


def folder(path):
    path.mkdir()


def pipe(path):
    os.mkfifo(path)


def unix_socket(path):
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


def device(path):
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 7))  # as /dev/full
    except PermissionError:
        pytest.skip("only root makes devices")


def _same(path):
    """What tells a file from one that took its place."""
    state = path.lstat()
    return state.st_ino, state.st_mode, state.st_rdev, state.st_mtime_ns


@pytest.mark.parametrize("by", ["itself", "link"])
@pytest.mark.parametrize(
    ("make", "kind"),
    [(folder, "a folder"), (pipe, "a pipe"), (unix_socket, "a socket"), (device, "a device")],
)
def test_what_is_no_regular_file_stays(make, kind, by, tmp_path):
    there = tmp_path / "there"
    make(there)
    path = there if by == "itself" else tmp_path / "link"
    if by == "link":
        path.symlink_to(there)
    before = _same(there), _same(path)
    assert f"{'is' if by == 'itself' else 'leads to'} {kind};" in refused(path)
    assert (_same(there), _same(path)) == before


@pytest.mark.parametrize("name", ["full", "null", "stdout", "fd/1", "new"])
def test_nothing_in_dev_is_for_files(name):
    """Asked alone: a write that is not refused would take the device away from the machine."""
    assert repr(f"/dev/{name}") in atomic.refusal(f"/dev/{name}")


def test_a_link_to_nowhere_is_refused(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    assert "where nothing is" in refused(link)
    link.unlink()
    link.symlink_to(link)
    assert "leads in a circle" in refused(link)
    assert link.is_symlink()


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("", "is empty"),
        ("file/page", "'{folder}/file' is not a folder"),
        ("file/deep/page", "'{folder}/file' is not a folder"),
        ("a\0b", "null"),
        ("a" * 300, "File name too long"),
    ],
)
def test_a_path_that_cannot_be_is_refused(path, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("file").touch()
    given = tmp_path / path if "/" in path else path
    assert says.format(folder=tmp_path) in refused(given)


@pytest.mark.parametrize("what", ["folder", "file"])
def test_permissions_are_respected(what, tmp_path, monkeypatch):
    path = tmp_path / "page"
    path.touch()
    closed = tmp_path if what == "folder" else path
    genuine = os.access  # root may write anywhere
    monkeypatch.setattr(os, "access", lambda at, mode: at != closed and genuine(at, mode))
    assert "may" in refused(path)
    assert path.read_text() == ""


def test_a_writer_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "page"
    path.write_text("old")

    def half(file):
        file.write_text("ha")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atomic.write(path, half)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["page"]


# Writes half a file, says so and waits: to be killed.
HALF = """
import sys
from ttnn_verify.files import atomic

def half(file):
    file.write_text("ha")
    print("now", flush=True)
    sys.stdin.read()

atomic.write(sys.argv[1], half)
"""


@contextlib.contextmanager
def writer(path):
    """A process that has written half of the file at `path`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HALF, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    with process:
        assert process.stdout.readline() == "now\n"
        yield process
        process.kill()


def test_what_a_killed_writer_left_goes_with_the_next_write(tmp_path):
    path = tmp_path / "a[b]*"
    other = tmp_path / f".{path.name}.partially"
    other.touch()
    with writer(path):
        pass
    assert len(os.listdir(tmp_path)) == 2
    atomic.write_text(path, "whole")
    assert sorted(os.listdir(tmp_path)) == sorted([path.name, other.name])


def test_what_a_living_writer_writes_stays(tmp_path):
    path = tmp_path / "page"
    with writer(path) as process:
        atomic.write_text(path, "ours")
        assert len(os.listdir(tmp_path)) == 2
        process.communicate()
    assert path.read_text() == "ha"
    assert os.listdir(tmp_path) == ["page"]
