"""How a command ends that a signal interrupts: cleaned up, with a line, exit status 130 or 143.

SIGINT (Ctrl-C) and SIGTERM raise an exception in the main thread, so that whatever is open closes.
A second signal ends the process at once.
"""

import atexit
import contextlib
import functools
import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import NoReturn

WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


class Ended(KeyboardInterrupt):
    """A signal asks the process to end; as KeyboardInterrupt, no `except Exception` stops it."""


class Signals:
    """What has arrived: see `raised`.

    Attributes:
        first: the first signal, None before.
    """

    def __init__(self, at_once: bool) -> None:
        self.first: signal.Signals | None = None
        self._at_once = at_once

    @property
    def status(self) -> int:
        """The exit status that shells give a command which a signal has ended, 0 without one."""
        return 0 if self.first is None else 128 + self.first

    def arrived(self, number: int, frame: FrameType | None) -> None:
        if self.first is None:
            self.first = signal.Signals(number)
            raise Ended(f"{WORDS[self.first]} by {self.first.name}")
        if self._at_once:
            os._exit(self.status)


@contextlib.contextmanager
def raised(at_once: bool = True) -> Iterator[Signals]:
    """Within, the first SIGINT or SIGTERM raises `Ended` in the main thread.

    A signal that this process was started to ignore, as `nohup` and shells in the background have
    it, stays ignored. In another thread, where Python sets no handlers, nothing changes.

    Args:
        at_once: a second one ends the process, without cleaning up; else it is ignored.
    """
    signals, before = Signals(at_once), {}
    if threading.current_thread() is threading.main_thread():
        for number in WORDS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, signals.arrived)
    try:
        yield signals
    finally:
        for number, handler in before.items():
            # None: it was not set from Python
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def at_once() -> None:
    """From now on, SIGINT and SIGTERM end the process with a line: for a command's slow imports.

    Nothing is cleaned up. `raised` takes over from it.
    """

    def end(number: int, frame: FrameType | None) -> None:
        _say(signal.Signals(number))
        os._exit(128 + number)

    for number in WORDS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)


def _say(number: signal.Signals) -> None:
    with contextlib.suppress(OSError):  # nobody may be reading any more
        print(WORDS[number], file=sys.stderr, flush=True)


def leave(status: int) -> NoReturn:
    """End the process with a status, once what is registered for its end is done.

    Python would take all apart that is imported, which takes a second, and frees what the system
    frees anyway. Not for a process that has opened a card, which TTNN leaves in order.
    """
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except OSError:  # nobody is reading any more; as Python ends then
        os._exit(120)
    os._exit(status)


Main = Callable[..., int]  # of the arguments, or of none for those of the process


def one_line(main: Main) -> Main:
    """A command's main function, which ends in one line where a signal asks it to."""

    @functools.wraps(main)
    def run(argv: Sequence[str] | None = None) -> int:
        with raised() as signals:
            try:
                return main(argv)
            except BaseException:  # cleaning up may have failed as well
                if signals.first is None:
                    raise
                _say(signals.first)
                return signals.status

    return run


def run(module: str) -> int:
    """Import a command's module, which is slow, and run its `main`. Returns the exit status."""
    return one_line(lambda argv: importlib.import_module(module).main(argv))(None)
