"""The pytest plugin: the `device` fixture, the backend it runs on, its options, marker and header.

One process has one device, opened when the first test asks for it and closed at the end: of several
cards one that no other process has. A device that does not open fails every test that uses it;
nothing is skipped. One that hangs ends the process, with the stack and the operation's name. Each
test starts from the same random state, whatever ran before it and on whichever worker.
"""

import contextlib
import math
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from ttnn_verify import backend, card_lock, cli
from ttnn_verify.pytest_plugins import hang
from ttnn_verify.pytest_plugins.keys import ARITHMETIC, BACKEND, DEVICE, MESH, SYSTEM
from ttnn_verify.report import bases

if TYPE_CHECKING:
    import ttnn

TIMEOUT = pytest.StashKey[float]()  # seconds that a test may use a device, 0 for no limit
OF_WORKERS = pytest.StashKey[tuple[set[str], dict[str, str]]]()  # see `computed`
STDERR = pytest.StashKey[int]()  # a file descriptor that no test's capture takes away

# Seconds for one test on a card, which end what hangs and nothing that is slow: the first test of a
# process opens the card and compiles kernels within minutes, and a machine may be 20 times slower.
CARD_TIMEOUT = 7200


def share_cores() -> None:
    """Limit each worker to its share of the cores: more threads than cores slow each other down.

    torch and numba read the limits when they are imported, here and in a test's subprocesses.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers > 1:
        threads = str(max(1, (os.cpu_count() or 1) // workers))
        for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
            os.environ.setdefault(name, threads)


def pytest_addoption(parser: pytest.Parser) -> None:
    # the first hook of a plugin that a conftest names: the next plugin, or the conftest of a folder
    # below, may import torch (pytest_load_initial_conftests is under way by then, and not called)
    share_cores()
    group = parser.getgroup("ttnn")
    cli.add_backend(group.addoption)
    group.addoption(
        "--require-silicon",
        action="store_true",
        help="an error unless the tests run on a card",
    )
    timeout = (
        "seconds after which a test that uses a device ends the process, with the stack and the "
        f"name of the TTNN operation; 0 for no limit; default: {CARD_TIMEOUT} on a card, else none"
    )
    group.addoption("--device-timeout", metavar="SECONDS", type=float, help=timeout)
    parser.addini("device_timeout", timeout)
    cli.add_seed(group.addoption, "the same at the beginning of each test")


def pytest_configure(config: pytest.Config) -> None:
    backend.quiet()
    config.addinivalue_line(
        "markers", "device: opens a TTNN device (set by the plugin on users of the fixture)"
    )
    try:
        picked = backend.pick(config.getoption("--backend"))
        backend.check_arithmetic(picked, config.getoption("--arithmetic"))
        system = backend.pick_system(picked, config.getoption("--system"), None)
    except backend.BackendError as error:
        raise pytest.UsageError(str(error)) from error
    if config.getoption("--require-silicon") and picked != "silicon":
        raise pytest.UsageError(f"--require-silicon, but the tests would run on {picked!r}.")
    workers = len(getattr(config.option, "tx", None) or ())
    cards = len(backend.visible_cards())
    if picked == "silicon" and workers > cards:
        raise pytest.UsageError(
            f"{workers} workers, {cards} card(s): each worker opens a card of its own."
        )
    config.stash[BACKEND] = picked
    config.stash[ARITHMETIC] = config.getoption("--arithmetic")
    config.stash[SYSTEM], config.stash[MESH] = system, None
    config.stash[TIMEOUT] = timeout(config, picked)
    config.stash[STDERR] = os.dup(2)
    config.add_cleanup(lambda: os.close(config.stash[STDERR]))
    config.stash[DEVICE] = SessionDevice(config)
    config.add_cleanup(config.stash[DEVICE].close)


def timeout(config: pytest.Config, picked: str) -> float:
    """Seconds that a test may use the device: by the option, the ini file or the backend."""
    text = config.getoption("--device-timeout")
    if text is None:
        text = config.getini("device_timeout") or None
    if text is None:
        return CARD_TIMEOUT if picked == "silicon" else 0.0
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds < math.inf:
        raise pytest.UsageError(f"device_timeout {text!r}: seconds, 0 for no limit.")
    return seconds


def pytest_report_header(config: pytest.Config) -> str:
    return f"backend: {described(config)}"


# What a worker tells the process that reports: the operations it computed, and the `approximate`.
COMPUTED = "emulated_operations"


def computed(config: pytest.Config) -> tuple[set[str], dict[str, str]]:
    """The operations that this process's emulated device has computed, and the approximate ones."""
    if config.stash[BACKEND] != "emulated" or "ttnn_emulator" not in sys.modules:
        return set(), {}
    import ttnn_emulator  # as the tests have

    settings = ttnn_emulator.found_evidence()
    return {bases.short(entry) for entry in settings}, bases.approximate(settings)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):  # xdist's, in a worker
        operations, not_followed = computed(session.config)
        session.config.workeroutput[COMPUTED] = [sorted(operations), not_followed]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:  # an xdist node
    told = (getattr(node, "workeroutput", None) or {}).get(COMPUTED, ((), {}))
    operations, not_followed = node.config.stash.setdefault(OF_WORKERS, (set(), {}))
    operations.update(told[0])
    not_followed.update(told[1])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Which emulated operations follow the kernels, and which are approximate, in a line."""
    config = terminalreporter.config
    if config.stash[ARITHMETIC] == "rounded":
        return  # the header says it: none follows a kernel
    operations, not_followed = computed(config)
    of_workers = config.stash.get(OF_WORKERS, (set(), {}))
    basis = bases.line(
        len(operations | of_workers[0]), dict(sorted((not_followed | of_workers[1]).items()))
    )
    if basis:
        terminalreporter.line(f"emulated: {basis}")


def described(config: pytest.Config) -> str:
    """The backend of a session as reports name it."""
    stash = config.stash
    return backend.described(stash[BACKEND], stash[ARITHMETIC], stash[SYSTEM], stash[MESH])


def pytest_itemcollected(item: pytest.Item) -> None:
    if "device" in getattr(item, "fixturenames", ()):
        item.add_marker("device")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    torch = sys.modules.get("torch")  # a test that uses it has imported it by now
    if torch:
        torch.manual_seed(item.config.getoption("--seed"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    seconds = item.config.stash[TIMEOUT]
    watch: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if seconds and item.get_closest_marker("device"):
        watch = hang.watched(seconds, item.config.stash[STDERR])
    with watch:
        return (yield)


@pytest.fixture(scope="session")
def backend_name(request: pytest.FixtureRequest) -> str:
    """The name of the backend that the tests run on."""
    return request.config.stash[BACKEND]


class SessionDevice:
    """The device of this process: opened when it is first asked for, closed at the latest with the
    session. A plugin that needs it while tests are collected asks here; tests ask the fixture.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._stack = contextlib.ExitStack()
        self._opened: ttnn.Device | None = None

    def get(self) -> "ttnn.Device":
        """The device, a ttnn device. Raises what opening it raises."""
        if self._opened is None:
            with contextlib.ExitStack() as stack:
                self._opened = self._open(stack)
                self._stack = stack.pop_all()
        return self._opened

    def close(self) -> None:
        """Close it, if it is open."""
        self._opened = None
        self._stack.close()

    def _open(self, stack: contextlib.ExitStack) -> "ttnn.Device":
        stash = self._config.stash
        worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")

        def say(sentence: str) -> None:
            os.write(stash[STDERR], f"{worker}: {sentence}\n".encode())

        if stash[BACKEND] == "silicon" and stash[MESH] is None:
            # a process has an emulated or simulated device for itself, cards are shared out
            stack.enter_context(card_lock.claimed(int(worker.removeprefix("gw")), say))
        opened = stack.enter_context(
            backend.open_device(stash[BACKEND], 0, stash[ARITHMETIC], stash[SYSTEM], stash[MESH])
        )
        if stash[TIMEOUT]:
            stack.enter_context(hang.named_operations())
        return opened


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> "Iterator[ttnn.Device]":
    """A ttnn device, the same for all tests of this process."""
    opened = request.config.stash[DEVICE]
    yield opened.get()
    opened.close()
