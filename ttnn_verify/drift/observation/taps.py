"""Intercepts TTNN's calls: within a block, each operation's call goes through an observer.

Each operation of TTNN is an object whose class makes it callable, so the class's `__call__` is
replaced. That intercepts every call, however the model obtained the operation, on a card as on the
emulated device, without a change to the model.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import ttnn
from ttnn.decorators import FastOperation, Operation

from ttnn_emulator.interpose import Layer, Level

# A real and an imaginary tensor in one object of TTNN's, which its `ttnn` gives no name of its own.
ComplexTensor = ttnn._ttnn.operations.complex.ComplexTensor


@dataclasses.dataclass(frozen=True)
class TtnnCall:
    """A call of an operation, as the model makes it.

    Attributes:
        name: the operation's full name, such as "ttnn.linear".
        operation: TTNN's object.
        args, kwargs: as given.
    """

    name: str
    operation: Any  # of TTNN's own classes, which differ between its fast and its slow runtime
    args: tuple
    kwargs: dict[str, Any]

    @property
    def operands(self) -> list[ttnn.Tensor]:
        """The tensors on a device among the arguments, in their order."""
        return device_tensors((self.args, self.kwargs))


# `observer(call, run)` returns the result of the call, which `run()` makes.
Observer = Callable[[TtnnCall, Callable[[], Any]], Any]


@contextlib.contextmanager
def intercept(observer: Observer) -> Iterator[None]:
    """Within the block call `observer(call, run)` in place of each operation, for its result.

    `run()` makes the call itself. Operations called by the observer or by another operation are not
    intercepted.
    """
    inside = False

    def tap(own):
        def call(operation, *args, **kwargs):
            nonlocal inside
            if inside:
                return own(operation, *args, **kwargs)
            inside = True
            try:
                observed = TtnnCall(operation.python_fully_qualified_name, operation, args, kwargs)
                return observer(observed, lambda: own(operation, *args, **kwargs))
            finally:
                inside = False

        return call

    with Layer("taps on TTNN's calls", Level.OBSERVER) as layer:
        for kind in (FastOperation, Operation):  # TTNN's fast runtime, and its slow one
            layer.wrap(kind, "__call__", tap)
        yield


def device_tensors(value: Any) -> list[ttnn.Tensor]:
    """All ttnn tensors on a device within nested lists, tuples and dicts, in their order.

    Of a complex tensor its real and its imaginary part.
    """
    if isinstance(value, ttnn.Tensor):
        return [value] if value.storage_type() == ttnn.StorageType.DEVICE else []
    return [tensor for _, element in _elements(value) for tensor in device_tensors(element)]


def paths(value: Any) -> list[str]:
    """The place of each of `device_tensors(value)` in it as Python writes it, such as "[0]"."""
    if isinstance(value, ttnn.Tensor):
        return [""] * len(device_tensors(value))
    return [before + after for before, one in _elements(value) for after in paths(one)]


def _elements(value: Any) -> list[tuple[str, Any]]:
    """(place as Python writes it, element) of a container or a complex tensor."""
    if isinstance(value, dict):
        return [(f"[{key!r}]", one) for key, one in value.items()]
    if isinstance(value, (list, tuple)):
        return [(f"[{number}]", one) for number, one in enumerate(value)]
    if isinstance(value, ComplexTensor):
        return [(".real", value.real), (".imag", value.imag)]
    return []
