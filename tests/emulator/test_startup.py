"""Importing the emulation leaves the process as it was, and old compiled code does not pile up."""

import os
import subprocess
import sys

from ttnn_emulator import startup

# Prints what other users of numba, loguru and the environment see.
STATE = """
import os, pickle, sys
import numba
def state():
    from loguru import logger
    handlers = [(number, handler.levelno) for number, handler in logger._core.handlers.items()]
    config = {name: value for name, value in vars(numba.config).items() if name.isupper()}
    return dict(os.environ), config, handlers, logger._core.enabled.get("ttnn", True)
"""
WITH_TTNN_ALONE = STATE + "import ttnn\npickle.dump(state(), open(sys.argv[1], 'wb'))"
WITH_THE_EMULATION = """
import ttnn_emulator
for before, after in zip(pickle.load(open(sys.argv[1], 'rb')), state(), strict=True):
    assert after == before
"""


def test_importing_changes_nothing_that_ttnn_alone_does_not(tmp_path):
    alone = _run(WITH_TTNN_ALONE, tmp_path / "state")
    assert "Initial ttnn.CONFIG" in alone.stderr
    after_ttnn = _run(STATE + "import ttnn" + WITH_THE_EMULATION, tmp_path / "state")
    assert after_ttnn.stderr.count("DEBUG") == alone.stderr.count("DEBUG")
    assert _run(STATE + WITH_THE_EMULATION, tmp_path / "state").stderr == ""


def _run(script, *arguments):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("LOGURU", "TT_METAL"))}
    result = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result


def test_every_module_with_compiled_functions_is_imported_with_the_package():
    """Only then is its code kept in the folder of the sources as they are."""
    arithmetic = startup.__file__.replace("startup.py", "arithmetic")
    folder = os.path.dirname(arithmetic)
    for parent, _, files in os.walk(arithmetic):
        for file in (os.path.join(parent, name) for name in files if name.endswith(".py")):
            with open(file) as source:
                if "numba" in source.read():
                    module = os.path.relpath(file, os.path.dirname(folder))
                    assert module.removesuffix(".py").replace(os.sep, ".") in sys.modules


def folders(base, count):
    paths = [base / f"{startup.PREFIX}{number}" for number in range(count)]
    for used, folder in enumerate(paths):
        folder.mkdir()
        (folder / "code.nbc").touch()
        os.utime(folder, (used, used))
    return paths


def test_only_the_folders_used_last_are_kept(tmp_path):
    paths = folders(tmp_path, 6)
    (tmp_path / "somebody else's").mkdir()
    startup.prune(tmp_path, count=2)
    assert set(tmp_path.iterdir()) == {*paths[-2:], tmp_path / "somebody else's"}


def test_a_folder_in_use_is_kept_however_old(tmp_path):
    oldest, *_, latest = folders(tmp_path, 4)
    code = (
        "import pathlib, sys\nfrom ttnn_emulator.machine import folders\n"
        "folders.use(pathlib.Path(sys.argv[1]))\n"
        "print('locked', flush=True)\nsys.stdin.read()\n"
    )
    user = subprocess.Popen(
        [sys.executable, "-c", code, str(oldest)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with user:
        assert user.stdout.readline() == "locked\n"
        startup.prune(tmp_path, count=1)
        assert set(tmp_path.iterdir()) == {oldest, latest}
        user.stdin.close()
    startup.prune(tmp_path, count=1)
    assert set(tmp_path.iterdir()) == {latest}


def test_uninstalling_puts_the_environment_back():
    script = (
        "import os, ttnn_emulator, ttnn\n"
        "before, add, to_torch = dict(os.environ), ttnn.add.function, ttnn.Tensor.to_torch\n"
        "for _ in range(2):\n"
        "    with ttnn_emulator.open_device() as device:\n"
        "        assert os.environ['TT_METAL_MOCK_CLUSTER_DESC_PATH']\n"
        "        ones = ttnn.full([32, 32], 1.0, layout=ttnn.TILE_LAYOUT, device=device)\n"
        "        assert (ttnn.to_torch(ttnn.add(ones, ones)) == 2).all()\n"
        "    assert dict(os.environ) == before\n"
        "    assert ttnn.add.function is add and ttnn.Tensor.to_torch is to_torch\n"
    )
    _run(script)
