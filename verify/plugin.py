"""The pytest plugin: the `device` fixture, the backend it runs on, its options, marker and header.

One process has one device, opened when the first test asks for it and closed at the end. A device
that does not open fails every test that wants it; nothing is skipped. Each test starts from the
same random state, whatever ran before it and on whichever worker.
"""

import os
import sys

import pytest

from verify import backend

BACKEND = pytest.StashKey[str]()
ARITHMETIC = pytest.StashKey[str | None]()


def pytest_addoption(parser):
    group = parser.getgroup("ttnn")
    group.addoption(
        "--backend",
        choices=backend.BACKENDS,
        help="where TTNN runs; default: the first of these that is there",
    )
    group.addoption(
        "--arithmetic",
        choices=backend.ARITHMETICS,
        help="how the emulated device computes: as the kernels do (the default), or in float32 and "
        "rounded once",
    )
    group.addoption(
        "--require-silicon",
        action="store_true",
        help="an error unless the tests run on a card",
    )
    group.addoption(
        "--seed",
        type=int,
        default=0,
        help="of torch's random numbers, the same at the beginning of each test; default: 0",
    )


def pytest_configure(config):
    backend.quiet()
    share_cores()
    config.addinivalue_line(
        "markers", "device: opens a TTNN device (set by the plugin on users of the fixture)"
    )
    try:
        picked = backend.pick(config.getoption("--backend"))
        backend.check_arithmetic(picked, config.getoption("--arithmetic"))
    except backend.BackendError as error:
        raise pytest.UsageError(str(error)) from error
    if config.getoption("--require-silicon") and picked != "silicon":
        raise pytest.UsageError(f"--require-silicon, but the tests would run on {picked!r}.")
    workers = len(getattr(config.option, "tx", None) or ())
    if picked == "silicon" and workers > len(backend.cards()):
        raise pytest.UsageError(
            f"{workers} workers, {len(backend.cards())} card(s): each worker opens a card of its own."
        )
    config.stash[BACKEND] = picked
    config.stash[ARITHMETIC] = config.getoption("--arithmetic")


def share_cores():
    """Give each worker its share of the cores: threads that outnumber them wait for each other.

    Read when torch and numba are imported, so by the subprocesses of a test too.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers > 1:
        threads = str(max(1, (os.cpu_count() or 1) // workers))
        for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
            os.environ.setdefault(name, threads)


def pytest_report_header(config):
    return f"backend: {backend.described(config.stash[BACKEND], config.stash[ARITHMETIC])}"


def pytest_itemcollected(item):
    if "device" in getattr(item, "fixturenames", ()):
        item.add_marker("device")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    torch = sys.modules.get("torch")  # a test that uses it has imported it by now
    if torch:
        torch.manual_seed(item.config.getoption("--seed"))


@pytest.fixture(scope="session")
def backend_name(request):
    """The name of the backend that the tests run on."""
    return request.config.stash[BACKEND]


@pytest.fixture(scope="session")
def device(backend_name, request):
    """A ttnn device, the same for all tests of this process."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    # a process has an emulated or simulated device for itself, cards are shared out
    device_id = worker if backend_name == "silicon" else 0
    arithmetic = request.config.stash[ARITHMETIC]
    with backend.open_device(backend_name, device_id, arithmetic) as opened:
        yield opened
