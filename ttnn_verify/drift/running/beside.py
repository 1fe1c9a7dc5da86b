"""A part of a run that another process does meanwhile, which begins as a copy of this one.

What is in memory is in both without being there twice. A copy has no threads but its own main one,
so it is made before any library starts threads that it would wait for.
"""

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from typing import Any, Generic, TypeVar

import torch

from ttnn_verify import ending
from ttnn_verify.drift.progress import Call, Progress

PATIENCE = 10.0  # seconds in which a process that is no longer needed has closed what it opened
BYTES = 16  # of memory for each parameter of a model: 12.5 at the most, 4 layers of Phi-3 mini
AT_LEAST = 2 << 30  # bytes of memory for a small one: TTNN's mock device, and values

T = TypeVar("T")


def has_room(parameters: int) -> bool:
    """Whether this machine has a core and the memory for a second process of a model."""
    if len(os.sched_getaffinity(0)) < 2:
        return False
    return _available() >= AT_LEAST + BYTES * parameters


def _available() -> int:
    """Bytes of memory that processes can have without others being moved to disk; Linux's count."""
    with contextlib.suppress(OSError, ValueError), open("/proc/meminfo") as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    return 0


@contextlib.contextmanager
def no_threads() -> Iterator[None]:
    """Within, torch computes in the main thread alone: a copy cannot use the others' pool."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class Ends:
    """What two processes take from either end of a list that both have, until they meet."""

    def __init__(self, context: BaseContext) -> None:
        self._taken = context.Array("q", 2)  # from the beginning, and from the end

    def first(self, items: Sequence[T]) -> Iterator[T]:
        """Those that one process gets, from the first one on."""
        while self._takes(0, items):
            yield items[self._taken[0] - 1]

    def last(self, items: Sequence[T]) -> Iterator[T]:
        """Those that the other gets, from the last one on."""
        while self._takes(1, items):
            yield items[-self._taken[1]]

    def taken_last(self, items: Sequence[T]) -> Sequence[T]:
        """Those that the other got, again."""
        return items[len(items) - self._taken[1] :]

    def _takes(self, end: int, items: Sequence[T]) -> bool:
        with self._taken.get_lock():
            from_both: int = self._taken[0] + self._taken[1]
            left = from_both < len(items)
            self._taken[end] += left
        return left


class Beside(Generic[T]):
    """A function that runs in a copy of this process, of which nothing is heard on a terminal.

    Args:
        work: is given a `Progress` and `ends`, and returns what pickle can copy.

    Attributes:
        ends: of what the two processes share out.
    """

    def __init__(self, work: Callable[[Progress, Ends], T]) -> None:
        context = multiprocessing.get_context("fork")
        self.ends = Ends(context)
        received, sent = context.Pipe(duplex=False)
        arguments = work, self.ends, sent, received
        self._process = context.Process(target=_run, args=arguments, daemon=True)
        with warnings.catch_warnings():  # those threads hold nothing that the copy uses
            warnings.filterwarnings("ignore", ".*multi-threaded.*", DeprecationWarning)
            self._process.start()
        sent.close()  # so that the end of the process is the end of its messages
        self._messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=self._listen, args=(received,), daemon=True).start()

    def result(self, progress: Progress | None) -> T | None:
        """What the function returns, once it has; None if it fails, or the process was killed.

        Args:
            progress: is told what that of the function is told, from its beginning.
        """
        while True:
            name, arguments = self._messages.get()
            if name == "result":
                return arguments[0]
            if progress is not None:
                getattr(progress, name)(*arguments)

    def stop(self) -> None:
        """End the process, which closes what it has opened."""
        self._process.terminate()
        self._process.join(PATIENCE)
        self._process.kill()

    def _listen(self, received: Connection) -> None:
        try:
            with contextlib.suppress(EOFError, OSError):
                while True:
                    self._messages.put(received.recv())
        finally:  # whatever came, somebody waits for the end
            self._messages.put(("result", (None,)))


def _run(
    work: Callable[[Progress, Ends], Any], ends: Ends, sent: Connection, received: Connection
) -> None:
    """In the other process."""
    received.close()  # so that sending fails once nobody listens
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the first process, which ends us
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # its threads are not here
    status = 1
    with ending.raised(at_once=False):
        try:
            sent.send(("result", (work(_Sender(sent), ends),)))
            status = 0
        except BaseException:  # noqa: BLE001, S110 - the first process does it again, and fails
            pass
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what is left to do is quick
        ending.leave(status)


class _Sender:
    """Progress that is told to another process."""

    def __init__(self, sent: Connection) -> None:
        self._sent = sent

    def begin(self, phase: str, calls: Sequence[Call]) -> None:
        self._sent.send(("begin", (phase, calls)))

    def call(self, number: int) -> None:
        self._sent.send(("call", (number,)))

    def ttnn_call(self) -> None:
        self._sent.send(("ttnn_call", ()))
