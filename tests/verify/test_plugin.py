"""The pytest plugin, run on suites of its own: marker, header, options, workers, broken devices.

A device that hangs and cards that are taken are played by fakes.
"""

import os
import pathlib
import runpy
import subprocess
import sys

import pytest
import torch  # noqa: F401  a suite that imports it first would take it away again

from ttnn_verify import backend, card_lock
from ttnn_verify.pytest_plugins import device, hang

pytest_plugins = ["pytester"]

ROOT = pathlib.Path(backend.__file__).parents[1]

SUITE = """
import torch

def test_on_device(device):
    assert device == "opened"

def test_on_host():
    assert torch.initial_seed() == 0
"""

# stands for TTNN, so that these suites cost no device
OPENED = """
import contextlib, os, pathlib
from ttnn_verify import backend
from ttnn_verify.pytest_plugins import hang

pytest_plugins = ["ttnn_verify.pytest_plugins.device"]

@contextlib.contextmanager
def open_device(name, device_id=0, arithmetic=None, system=None, mesh=None):
    {before}
    log = pathlib.Path({log!r})
    card = os.environ.get(backend.VISIBLE, "no card")
    with log.open("a") as file: print("open", name, device_id, card, file=file)
    yield "opened"
    with log.open("a") as file: print("close", file=file)

backend.open_device = open_device
hang.named_operations = contextlib.nullcontext  # a suite's own device has none
backend.CARDS = pathlib.Path({cards!r})
"""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")

THREADS = """
import numba
import torch

def test_threads():
    assert torch.get_num_threads() == numba.get_num_threads() == 1
"""

# Stands for a call that a device never answers: it keeps the interpreter's lock. The watchdog that
# the plugin sets is started by the call itself, so that nothing before it has to be done within a
# second.
# Only where the watchdog does not end the process, the alarm does, and the test fails.
HANGING = """
import ctypes
import faulthandler
import signal
from ttnn_verify.pytest_plugins import hang

watchdogs = []
start = faulthandler.dump_traceback_later
faulthandler.dump_traceback_later = lambda *args, **kwargs: watchdogs.append((args, kwargs))

def hanging():
    args, kwargs = watchdogs[-1]
    start(*args, **kwargs)
    signal.alarm(600)
    while True:
        ctypes.PyDLL(None).pause()

def test_hangs(device):
    queued = []
    hang.queueing(lambda: None, "ttnn.linear", queued)()
    hang.waiting(hanging, "ttnn.to_torch", queued)()

def test_after(device):
    pass
"""


@pytest.fixture
def suite(pytester, monkeypatch):
    """Run a suite on a machine with so many cards. Returns pytest's result and the device's log."""
    for name in ("TT_METAL_SIMULATOR", "PYTEST_XDIST_WORKER", backend.VISIBLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for owner, name in (
        (backend, "open_device"),
        (backend, "CARDS"),
        (hang, "named_operations"),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name))  # put back after the suite's own

    def run(*args, on=0, before="pass", tests=SUITE, process=False):
        folder = pytester.mkdir("cards")
        for number in range(on):
            (folder / str(number)).touch()
        log = pytester.path / "log"
        log.touch()
        places = {"log": log, "cards": folder}
        pytester.makeconftest(
            OPENED.format(before=before, **{name: str(path) for name, path in places.items()})
        )
        pytester.makepyfile(tests)
        start = pytester.runpytest_subprocess if process else pytester.runpytest
        result = start("-p", "no:cacheprovider", *args)
        return result, log.read_text().splitlines()

    return run


def test_the_device_run_is_every_user_of_the_fixture(suite):
    result, log = suite("-m", "device", "--strict-markers", "-v")
    result.assert_outcomes(passed=1, deselected=1)
    result.stdout.fnmatch_lines(["backend: emulated, kernel arithmetic", "*test_on_device PASSED*"])
    assert log == ["open emulated 0 no card", "close"]


def test_tests_without_the_fixture_open_no_device(suite):
    result, log = suite("-m", "not device")
    result.assert_outcomes(passed=1, deselected=1)
    assert log == []


def test_workers_open_a_device_each(suite):
    tests = "import pytest\n@pytest.mark.parametrize('n', range(8))\ndef test_n(device, n): pass"
    result, log = suite("-n", "2", tests=tests, on=2)
    result.assert_outcomes(passed=8)
    result.stdout.fnmatch_lines(["backend: silicon"])
    assert sorted(log) == ["close", "close", "open silicon 0 0", "open silicon 0 1"]


def test_workers_share_the_cores(suite, pytester, monkeypatch):
    for name in (*THREAD_VARIABLES, "PYTEST_XDIST_WORKER_COUNT"):
        monkeypatch.delenv(name, raising=False)
    folder = pytester.mkdir("suite")
    (folder / "conftest.py").write_text("import torch")
    (folder / "test_threads.py").write_text(THREADS)
    result, _ = suite("-n", str(max(2, os.cpu_count())), "suite", tests="")
    result.assert_outcomes(passed=1)


def test_importing_the_plugin_sets_no_threads(monkeypatch):
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "2")
    runpy.run_path(device.__file__)
    assert not set(THREAD_VARIABLES) & set(os.environ)
    device.share_cores()
    assert set(THREAD_VARIABLES) <= set(os.environ)


def test_more_workers_than_cards_are_refused(suite):
    result, log = suite("-n", "2", on=1)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*2 workers, 1 card*"])
    assert log == []


def test_a_device_that_does_not_open_is_an_error_and_no_skip(suite):
    result, _ = suite(before="raise RuntimeError('chip does not answer')", on=1)
    result.assert_outcomes(passed=1, errors=1, skipped=0)
    result.stdout.fnmatch_lines(["*chip does not answer*"])


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--require-silicon"], "*--require-silicon*'emulated'*"),
        (["--backend", "silicon"], "*no card*"),
        (["--backend", "gpu"], "*gpu*choose from*silicon*"),
    ],
)
def test_a_backend_that_is_not_there_stops_the_run(suite, args, says):
    result, log = suite(*args)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([says])
    assert log == []


def test_a_process_without_workers_has_one_card(suite):
    result, log = suite(on=2)
    result.assert_outcomes(passed=2)
    assert log == ["open silicon 0 0", "close"]


def test_only_visible_cards_are_used(suite, monkeypatch):
    monkeypatch.setenv(backend.VISIBLE, "1")
    result, log = suite(on=2)
    result.assert_outcomes(passed=2)
    assert log == ["open silicon 0 1", "close"]


HOLDER = """
import pathlib, sys
from ttnn_verify import backend
from ttnn_verify import card_lock
backend.CARDS = pathlib.Path(sys.argv[1])
with card_lock.claimed(0) as name:
    print(name, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path, monkeypatch):
    """Start another process that holds the first free of two cards. Returns it and the card."""
    monkeypatch.delenv(backend.VISIBLE, raising=False)
    monkeypatch.setattr(backend, "CARDS", tmp_path)
    for name in ("0", "1"):
        (tmp_path / name).touch()
    started = []

    def start():
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        started.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_card_of_another_process_is_left_alone(holder):
    _, first = holder()
    with card_lock.claimed(0) as second:
        assert {first, second} == {"0", "1"}


def test_a_card_is_waited_for_and_its_holder_named(holder, monkeypatch):
    process, _ = holder()
    monkeypatch.setenv(backend.VISIBLE, "0")
    messages = []

    def say(sentence):
        messages.append(sentence)
        process.kill()  # a lock ends with its process

    with card_lock.claimed(0, say) as name:
        assert name == "0"
    (sentence,) = messages
    assert f"card 0 is taken by process {process.pid}" in sentence


def test_waiting_for_a_card_ends(holder, monkeypatch):
    holder()
    monkeypatch.setenv(backend.VISIBLE, "0")
    claim = card_lock.claimed(0, lambda sentence: None, patience=0.1)
    with pytest.raises(backend.BackendError, match=r"no card became free in 0\.1 s: card 0"), claim:
        pass


def test_a_card_is_claimed_by_its_own_file_and_nothing_is_written(holder, tmp_path):
    holder()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]
    assert not any(path.stat().st_size for path in tmp_path.iterdir())


def test_a_card_that_is_not_there_is_a_sentence(holder, monkeypatch):
    monkeypatch.setenv(backend.VISIBLE, "7")
    with pytest.raises(backend.BackendError, match="card '7' is not here"), card_lock.claimed():
        pass


def test_a_card_may_be_named_by_its_address(monkeypatch, tmp_path):
    monkeypatch.setattr(card_lock, "PCI", tmp_path)
    monkeypatch.setenv(backend.VISIBLE, "0000:01:00.0")
    (tmp_path / "0000:01:00.0").mkdir()
    with card_lock.claimed() as name:
        assert name == "0000:01:00.0"


@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["alone", "worker"])
def test_a_hung_call_ends_with_the_stack_and_the_operations_name(suite, workers):
    result, _ = suite("--device-timeout", "1", *workers, tests=HANGING, process=True)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stderr.fnmatch_lines(
        ["Timeout (0:00:01)!", "* in hanging", "* in ttnn.to_torch behind ttnn.linear"]
    )
    if workers:
        result.stdout.fnmatch_lines(["*crashed while running *test_hangs*"])
        result.assert_outcomes(passed=1, failed=1)


def test_every_operation_of_ttnn_gets_its_name_and_loses_it():
    import ttnn

    genuine = ttnn.add.function
    with hang.named_operations():
        assert ttnn.add.function is not genuine
        assert ttnn.add.function.__wrapped__ is genuine
    assert ttnn.add.function is genuine


def test_a_call_has_a_frame_of_its_operations_name():
    def who(depth=1):
        return sys._getframe(depth).f_code.co_name

    queued = []
    assert hang.queueing(who, "ttnn.linear", queued)() == "ttnn.linear"
    assert hang.queueing(who, "ttnn.add", queued)() == "ttnn.add"
    assert (
        hang.waiting(who, "ttnn.to_torch", queued)() == "ttnn.to_torch behind ttnn.add, ttnn.linear"
    )
    assert hang.waiting(who, "ttnn.to_torch", queued)() == "ttnn.to_torch"


def test_a_timeout_that_is_no_number_is_refused(suite):
    result, log = suite("--device-timeout", "-1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*device_timeout -1.0: seconds, 0 for no limit."])
    assert log == []
