"""The pytest plugin, run on suites of its own: marker, header, options, workers, broken devices."""

import pathlib

import pytest
import torch  # noqa: F401  a suite that imports it first would take it away again

from verify import backend

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
import contextlib, pathlib
from verify import backend

pytest_plugins = ["verify.plugin"]

@contextlib.contextmanager
def open_device(name, device_id=0, arithmetic=None):
    {before}
    log = pathlib.Path({log!r})
    with log.open("a") as file: print("open", name, device_id, file=file)
    yield "opened"
    with log.open("a") as file: print("close", file=file)

backend.open_device = open_device
backend.CARDS = pathlib.Path({cards!r})
"""


@pytest.fixture
def suite(pytester, monkeypatch):
    """Run a suite on a machine with so many cards. Returns pytest's result and the device's log."""
    for name in ("TT_METAL_SIMULATOR", "PYTEST_XDIST_WORKER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name in ("open_device", "CARDS"):
        monkeypatch.setattr(backend, name, getattr(backend, name))  # put back after the suite's own

    def run(*args, cards=0, before="pass", tests=SUITE):
        folder = pytester.mkdir("cards")
        for number in range(cards):
            (folder / str(number)).touch()
        log = pytester.path / "log"
        log.touch()
        pytester.makeconftest(OPENED.format(before=before, log=str(log), cards=str(folder)))
        pytester.makepyfile(tests)
        result = pytester.runpytest("-p", "no:cacheprovider", *args)
        return result, log.read_text().splitlines()

    return run


def test_the_device_run_is_every_user_of_the_fixture(suite):
    result, log = suite("-m", "device", "--strict-markers", "-v")
    result.assert_outcomes(passed=1, deselected=1)
    result.stdout.fnmatch_lines(["backend: emulated, kernel arithmetic", "*test_on_device PASSED*"])
    assert log == ["open emulated 0", "close"]


def test_tests_without_the_fixture_open_no_device(suite):
    result, log = suite("-m", "not device")
    result.assert_outcomes(passed=1, deselected=1)
    assert log == []


def test_workers_open_a_device_each(suite):
    tests = "import pytest\n@pytest.mark.parametrize('n', range(8))\ndef test_n(device, n): pass"
    result, log = suite("-n", "2", tests=tests, cards=2)
    result.assert_outcomes(passed=8)
    result.stdout.fnmatch_lines(["backend: silicon"])
    assert sorted(log) == ["close", "close", "open silicon 0", "open silicon 1"]


def test_more_workers_than_cards_are_refused(suite):
    result, log = suite("-n", "2", cards=1)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*2 workers, 1 card*"])
    assert log == []


def test_a_device_that_does_not_open_is_an_error_and_no_skip(suite):
    result, _ = suite(before="raise RuntimeError('chip does not answer')", cards=1)
    result.assert_outcomes(passed=1, errors=1, skipped=0)
    result.stdout.fnmatch_lines(["*chip does not answer*"])


@pytest.mark.parametrize(
    "args, says",
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
