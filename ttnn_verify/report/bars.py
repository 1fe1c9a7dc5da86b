"""Bars on a terminal, one for each phase of a long run: what is done, and how long the rest takes.

Neither Hugging Face's model nor the bring-up tells how far it is. So weights are counted: those
that a module of Hugging Face's has used, that have been sent to the device, that its operations
have read. Where stderr is no terminal nobody is watched.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
import tqdm

FORMAT = "{desc} {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}]"
SENDING = ("ttnn.from_torch", "ttnn.as_tensor")  # from the host, perhaps to the device at once

OnTokens = Callable[[int], object]


def shown() -> bool:
    """Whether anybody sees a bar."""
    return sys.stderr.isatty()


class PhaseBar:
    """A bar that fills up to a total, to be closed."""

    def __init__(self, name: str, total: float) -> None:
        self.total = total
        self._bar = tqdm.tqdm(
            desc=f"{name:12}", total=total, bar_format=FORMAT, disable=None, leave=False
        )

    def to(self, done: float) -> None:
        """So much is done; no more than the total is shown, and never less than before."""
        self._bar.update(max(min(done, self.total) - self._bar.n, 0))

    def add(self, done: float) -> None:
        """So much more is done."""
        self.to(self._bar.n + done)

    def close(self) -> None:
        self._bar.close()


@contextlib.contextmanager
def passes(name: str, hf_model: torch.nn.Module, count: int) -> Iterator[None]:
    """Within, Hugging Face's model runs so many times: by the weights that its modules use."""
    with contextlib.ExitStack() as stack:
        if shown():
            own = {part: _numbers(part) for part in hf_model.modules()}
            share = PhaseBar(name, count * sum(own.values()))
            bar = stack.enter_context(contextlib.closing(share))
            for part, numbers in own.items():
                if numbers:
                    hook = _adding(bar, numbers)
                    stack.callback(part.register_forward_hook(hook).remove)
        yield


def _numbers(module: torch.nn.Module) -> int:
    """How many a module's own weights have."""
    return sum(parameter.numel() for parameter in module.parameters(recurse=False))


def _adding(bar: PhaseBar, numbers: int) -> Callable[..., None]:
    return lambda *_: bar.add(numbers)


class Sent:
    """What a bring-up has sent to the device.

    Attributes:
        sizes: a buffer's id -> numbers in it.
    """

    def __init__(self) -> None:
        self.sizes: dict[int, int] = {}

    @contextlib.contextmanager
    def building(self, hf_model: torch.nn.Module) -> Iterator[None]:
        """Within, the model is built: by what is sent of as many numbers as its weights have."""
        if not shown():
            yield
            return
        from ttnn_verify.drift.observation import taps  # ttnn is slow to import

        total = sum(parameter.numel() for parameter in hf_model.parameters())

        def observe(call: taps.TtnnCall, run: Callable[[], Any]) -> Any:
            result = run()
            if call.name in SENDING:
                bar.add(result.logical_volume())
                self._note(taps.device_tensors(result))
            return result

        with contextlib.closing(PhaseBar("Building", total)) as bar, taps.intercept(observe):
            yield

    def _note(self, tensors: list[Any]) -> None:
        self.sizes |= {one.buffer_unique_id(): one.logical_volume() for one in tensors}

    @contextlib.contextmanager
    def running(self, prompt: int, tokens: int) -> Iterator[OnTokens]:
        """Within, the model is called along a prompt and tokens after it: a bar for each.

        Args:
            prompt, tokens: calls of the model for both.

        Yields what is to be told of each call that has ended.
        """
        if not shown():
            yield lambda count: None
            return
        from ttnn_verify.drift.observation import taps

        phases = _Phases({"TTNN prefill": prompt, "TTNN decode": tokens}, sum(self.sizes.values()))

        def observe(call: taps.TtnnCall, run: Callable[[], Any]) -> Any:
            result = run()
            for tensor in call.operands:
                buffer = tensor.buffer_unique_id()
                phases.read(buffer, self.sizes.get(buffer, 0))
            return result

        with contextlib.closing(phases), taps.intercept(observe):
            yield phases.ended


class _Phases:
    """Calls of a model in several phases, with a bar for the present one.

    Args:
        calls: name of a phase -> its calls.
        weights: numbers that a call reads; 0 where that is not known.
    """

    def __init__(self, calls: dict[str, int], weights: int) -> None:
        self._waiting = [(name, count) for name, count in calls.items() if count]
        self._weights = weights
        self._bar: PhaseBar | None = None
        self._next()

    def read(self, buffer: int, numbers: int) -> None:
        """The call reads a buffer with so many numbers of weights."""
        if self._bar is not None and numbers and buffer not in self._seen:
            self._seen.add(buffer)
            self._numbers += numbers
            self._bar.to(self._done + self._numbers / self._weights)

    def ended(self, tokens: int) -> None:
        """A call has ended."""
        self._begin(self._done + 1)
        if self._bar is not None:
            self._bar.to(self._done)
            if self._done >= self._bar.total:
                self._next()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def _next(self) -> None:
        self.close()
        self._bar = PhaseBar(*self._waiting.pop(0)) if self._waiting else None
        self._begin(0)

    def _begin(self, done: int) -> None:
        self._done, self._numbers = done, 0
        self._seen: set[int] = set()
