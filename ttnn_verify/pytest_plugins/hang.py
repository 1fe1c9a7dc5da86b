"""A device call that hangs: the process ends with the stack, and the stack names the operation.

A call that waits for a card does so in TTNN's C++, where Python neither runs a signal's handler
nor, if the call keeps the interpreter's lock, another thread: what can still speak is the watchdog
of Python's faulthandler, a thread without the lock that prints every frame's function name and ends
the process. So each TTNN operation is called from a frame that bears its name, as `in ttnn.linear`.
Operations are queued, and the call that hangs is often a read that waits for one of them; its frame
names the latest.
"""

import collections
import contextlib
import faulthandler
import functools
from collections.abc import Callable, Iterator, MutableSequence
from typing import Any

# Calls that return only after the device has finished the operations queued before them.
WAITING = ("ttnn.to_torch", "ttnn.from_device", "ttnn.synchronize_device")

QUEUED = 6  # how many of the latest queued operations are named


@contextlib.contextmanager
def watched(seconds: float, file: int) -> Iterator[None]:
    """End the process unless the block ends in `seconds`.

    Args:
        file: descriptor of the file that the stacks of all threads are written to.
    """
    faulthandler.dump_traceback_later(seconds, exit=True, file=file)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


@contextlib.contextmanager
def named_operations() -> Iterator[None]:
    """Each TTNN operation runs in a frame of its own name in the block.

    On an emulated device the block begins after that opens: the frames call the emulation.
    """
    import ttnn  # slow, and only wanted on a device

    from ttnn_emulator.interpose import Layer, Level

    queued: collections.deque[str] = collections.deque(maxlen=QUEUED)
    with Layer("frames of operations' names", Level.FRAME) as layer:
        for operation in ttnn.query_registered_operations(include_experimental=True):
            name = operation.python_fully_qualified_name
            make = waiting if name in WAITING else queueing
            layer.replace(operation, "function", make(operation.function, name, queued))
        synchronize = waiting(ttnn.synchronize_device, "ttnn.synchronize_device", queued)
        layer.replace(ttnn, "synchronize_device", synchronize)
        yield


def queueing(
    function: Callable[..., Any], name: str, queued: MutableSequence[str]
) -> Callable[..., Any]:
    """`function`, called from a frame that is named `name`, which joins `queued` afterwards."""
    inside = _in_frame(function, name)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        result = inside(*args, **kwargs)
        queued.append(name)
        return result

    return call


def waiting(
    function: Callable[..., Any], name: str, queued: MutableSequence[str]
) -> Callable[..., Any]:
    """`function`, called from a frame named `name` and what it waits for; empties `queued`."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        behind = f" behind {', '.join(reversed(queued))}" if queued else ""
        result = _in_frame(function, name + behind)(*args, **kwargs)
        queued.clear()
        return result

    return call


def _in_frame(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """A function that calls `function` and whose code bears `name`, which faulthandler prints."""

    def frame(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    code = frame.__code__
    named: dict[str, Any] = {"co_name": name}
    if hasattr(code, "co_qualname"):  # Python 3.11 and later
        named["co_qualname"] = name
    frame.__code__ = code.replace(**named)
    return frame
