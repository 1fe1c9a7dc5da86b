"""How far a run of drift is: which call of the model, how many calls of TTNN, how many to come.

The functions of `ttnn_verify.drift` tell a `Progress`, if they are given one; `Bar` shows it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import tqdm

from ttnn_verify.drift.observation import taps, walk

Call = walk.ModelCall | str  # of the model; of Hugging Face's in words


class Progress(Protocol):
    """Is told how far a run is."""

    def begin(self, phase: str, calls: Sequence[Call]) -> None:
        """A phase begins, which consists of these calls; a model may leave some out."""

    def call(self, number: int) -> None:
        """Call `number` of the phase begins."""

    def ttnn_call(self) -> None:
        """It has called an operation of TTNN."""


class Run:
    """A run of the model along sequences, of which a progress is told."""

    def __init__(
        self, progress: Progress | None, phase: str, sequences: Sequence[walk.TokenSequence]
    ) -> None:
        self._progress = progress
        if progress is not None:
            progress.begin(phase, walk.model_calls(sequences))

    def beginning(
        self, begin: Callable[[walk.ModelCall], None]
    ) -> Callable[[walk.ModelCall], None]:
        """For `walk.lead`: the same, and tells of each call of the model."""
        progress = self._progress
        if progress is None:
            return begin

        def told(call: walk.ModelCall) -> None:
            progress.call(call.number)
            begin(call)

        return told

    def observing(self, observe: taps.Observer) -> taps.Observer:
        """For `taps.intercept`: the same, and tells of each call of TTNN."""
        progress = self._progress
        if progress is None:
            return observe

        def told(call: taps.TtnnCall, run: Callable[[], Any]) -> Any:
            result = observe(call, run)
            progress.ttnn_call()
            return result

        return told


class Bar:
    """A bar on stderr for each phase, to be closed; nothing where stderr is no terminal."""

    def __init__(self) -> None:
        self._bar: tqdm.tqdm | None = None
        self._calls: Sequence[Call] = ()
        self._counts: dict[int, int] = {}  # of TTNN's calls, in each call of the model

    def begin(self, phase: str, calls: Sequence[Call]) -> None:
        self.close()
        self._calls, self._counts = calls, {}
        self._bar = tqdm.tqdm(desc=phase, unit=" calls", disable=None, leave=False)

    def call(self, number: int) -> None:
        if self._bar is None:
            return
        for before in range(number):
            self._counts.setdefault(before, 0)
        self._bar.total = total(self._calls, self._counts)
        if isinstance(self._calls[number], str):
            self._bar.n = number
        self._counts[number] = 0
        self._bar.set_postfix_str(f"{self._calls[number]}: {number + 1} of {len(self._calls)}")

    def ttnn_call(self) -> None:
        if self._bar is not None:
            self._counts[max(self._counts)] += 1
            self._bar.update()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def total(calls: Sequence[Call], counts: Mapping[int, int]) -> int | None:
    """How many calls a phase makes: of TTNN, or of Hugging Face; None before one can know.

    A call of the model makes as many of TTNN's as the last one like it: a prompt, or a token, of as
    many rows. Before there is one, it makes as many as the last of any kind.

    Args:
        counts: how many the calls of the model that are over have made, by their numbers.
    """
    made = [number for number in sorted(counts) if counts[number]]
    like = {_kind(calls[number]): counts[number] for number in made}
    if not any(isinstance(call, walk.ModelCall) for call in calls):
        return len(calls)
    if not made:
        return None
    return sum(
        counts[number] if number in counts else like.get(_kind(call), counts[made[-1]])
        for number, call in enumerate(calls)
    )


def _kind(call: Call) -> object:
    """What calls that make as many of TTNN's have in common."""
    return call if isinstance(call, str) else (call.count > 1, len(call.starts))
