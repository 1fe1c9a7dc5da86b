"""What is kept for later runs, and what is run from there, lies where nobody else can put files.

Another user is played by another number: of this process for folders, of a process for root.
"""

import contextlib
import os
import pathlib
import stat
import subprocess
import sys

import pytest

from tests.support.checkpoint import ROOT
from ttnn_emulator import startup
from ttnn_emulator.machine import folders, toolchain

ANOTHER = 54321  # a user's number


# --- a folder of one's own -----------------------------------------------------------------------


def test_a_folder_that_is_made_is_for_this_user_alone(tmp_path):
    folder = tmp_path / "caches" / "own"
    assert folders.private(folder) is None
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert folders.private(folder) is None


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702, 0o1777])
def test_a_folder_that_others_may_write_is_unsafe(mode, tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own").chmod(mode)
    assert "others may write" in folders.private(tmp_path / "own")


def test_a_folder_that_others_may_read_is_safe(tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own").chmod(0o755)
    assert folders.private(tmp_path / "own") is None


def test_a_folder_of_another_user_is_unsafe(tmp_path, monkeypatch):
    folders.private(tmp_path / "own")
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: ANOTHER)
    assert f"belongs to user {mine}, not to user {ANOTHER}" in folders.private(tmp_path / "own")
    assert folders.private(tmp_path / "own", trusted=(mine,)) is None


@pytest.mark.parametrize("what", ["link", "file", "below a file"])
def test_what_is_no_folder_is_unsafe(what, tmp_path):
    there = tmp_path / "there"
    if what == "link":
        (tmp_path / "safe").mkdir(mode=0o700)
        there.symlink_to(tmp_path / "safe")
    else:
        there.touch()
    assert folders.private(there / "own" if what == "below a file" else there)


@pytest.mark.parametrize(("named", "used"), [("{tmp}", "{tmp}"), ("", "~"), ("caches", "~")])
def test_a_cache_folder_that_is_empty_or_relative_is_not_the_current_one(
    named, used, tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", named.format(tmp=tmp_path))
    expected = tmp_path if used == "{tmp}" else tmp_path / "home" / ".cache"
    assert folders.user_cache() == expected


# --- compiled code -------------------------------------------------------------------------------


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """Sources in a folder that cannot be written, as those of an installed package."""
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "a.py").write_text("x = 1")
    genuine = os.access  # root may write anywhere
    monkeypatch.setattr(os, "access", lambda at, mode: at != folder and genuine(at, mode))
    monkeypatch.setitem(vars(startup.numba.config), "CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    return folder


def test_compiled_code_of_an_installed_package_is_in_the_users_cache(sources, tmp_path):
    folder = startup.compiled_code_folder(sources)
    assert folder.parent == tmp_path / "caches" / "ttnn-emulator"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert startup.compiled_code_folder(sources) == folder


@pytest.mark.parametrize("planted", ["link", "others", "another"])
def test_compiled_code_that_somebody_else_may_have_planted_is_not_taken(
    planted, sources, tmp_path, monkeypatch, caplog
):
    folder = startup.compiled_code_folder(sources)
    if planted == "link":
        folder.rmdir()
        (tmp_path / "planted").mkdir()
        folder.symlink_to(tmp_path / "planted")
    elif planted == "others":
        folder.chmod(0o777)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: ANOTHER)
    other = startup.compiled_code_folder(sources)
    assert other.parent != folder.parent
    assert not list(other.iterdir())
    assert stat.S_IMODE(other.stat().st_mode) == 0o700
    reason = "others" if planted == "others" else folder
    assert f"code is compiled anew, and not kept: {reason}" in caplog.text


def test_compiled_code_beside_its_sources_may_be_of_their_owner(tmp_path, monkeypatch):
    (tmp_path / "a.py").write_text("x = 1")
    monkeypatch.setitem(vars(startup.numba.config), "CACHE_DIR", "")
    folder = startup.compiled_code_folder(tmp_path)
    assert folder.parent == tmp_path / "__pycache__"
    monkeypatch.setattr(os, "geteuid", lambda: ANOTHER)
    assert startup.compiled_code_folder(tmp_path) == folder


def test_what_numba_is_told_is_checked_too(tmp_path, monkeypatch):
    sources, base = tmp_path / "sources", tmp_path / "everybodys"
    sources.mkdir()
    monkeypatch.setitem(vars(startup.numba.config), "CACHE_DIR", str(base))
    folder = startup.compiled_code_folder(sources)
    assert folder.parent == base
    folder.chmod(0o777)
    assert startup.compiled_code_folder(sources).parent != base


# --- what a killed process leaves ----------------------------------------------------------------

PREFIX = toolchain.PREFIX

# Opens a device, says so and waits.
OPENS = """
import os, sys, ttnn_emulator
with ttnn_emulator.open_device():
    print("now", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def opened(temporary, cwd=ROOT):
    """A process that has a device open, and keeps temporary files in a folder."""
    environment = os.environ | {"TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)}
    for name in ("OMPI_MCA_btl", "TT_METAL_LOGS_PATH"):
        environment.pop(name, None)
    process = subprocess.Popen(
        [sys.executable, "-c", OPENS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=environment,
    )
    with process:
        assert process.stdout.readline() == "now\n"
        yield process
        process.kill()


def left(folder):
    return {path for path in folder.iterdir() if path.name.startswith(PREFIX)}


def test_what_a_killed_run_leaves_goes_at_the_next_start(tmp_path, monkeypatch):
    with opened(tmp_path):
        pass
    (of_killed,) = left(tmp_path)
    assert any(of_killed.iterdir())
    with opened(tmp_path) as living:
        (of_living,) = left(tmp_path)
        assert of_living != of_killed
        folders.sweep(tmp_path, PREFIX)  # as another start does
        assert left(tmp_path) == {of_living}
        living.communicate()  # it ends by itself
    assert left(tmp_path) == set()


def test_what_another_user_left_stays(tmp_path, monkeypatch):
    folder = tmp_path / f"{PREFIX}x"
    folder.mkdir(mode=0o700)
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: ANOTHER)
        folders.sweep(tmp_path, PREFIX)
    assert left(tmp_path) == {folder}
    folders.sweep(tmp_path, PREFIX)
    assert left(tmp_path) == set()


def test_a_link_that_is_named_alike_is_not_followed(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / f"{PREFIX}x").symlink_to(tmp_path / "precious")
    folders.sweep(tmp_path, PREFIX)
    assert (tmp_path / "precious").is_dir()


def test_a_folder_that_is_swept_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(folders.tempfile, "gettempdir", lambda: str(tmp_path))
    genuine, taken = folders.use, []

    def late(folder):
        if not taken:
            taken.append(folder)
            folders.sweep(tmp_path, PREFIX)
        genuine(folder)

    monkeypatch.setattr(folders, "use", late)
    folder = folders.temporary(PREFIX)
    assert [folder.is_dir(), taken[0].exists()] == [True, False]
    folder.rmdir()


def test_an_emulated_device_leaves_nothing_elsewhere_and_listens_to_nobody(tmp_path):
    """Neither in the current folder nor in /dev/shm, where MPI keeps 16 MB of a killed process."""
    temporary, cwd = tmp_path / "temporary", tmp_path / "cwd"
    temporary.mkdir()
    cwd.mkdir()
    with opened(temporary, cwd) as process:
        files = pathlib.Path(f"/proc/{process.pid}/fd")
        open_ones = [os.readlink(file) for file in files.iterdir()]
        sockets = {name[8:-1] for name in open_ones if name.startswith("socket:[")}
        for protocol in ("tcp", "tcp6", "udp", "udp6"):
            table = pathlib.Path(f"/proc/{process.pid}/net/{protocol}").read_text()
            assert not sockets & {line.split()[9] for line in table.splitlines()[1:]}
        mapped = pathlib.Path(f"/proc/{process.pid}/maps").read_text()
        assert "/dev/shm/sm_segment" not in mapped
    assert list(cwd.iterdir()) == []
    assert {path.name[: len(PREFIX)] for path in temporary.iterdir()} == {PREFIX}
