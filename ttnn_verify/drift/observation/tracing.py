"""The first run: which calls the model makes, and which of Hugging Face's values each computes."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
import ttnn

from ttnn_verify import jobs
from ttnn_verify.drift.observation import matching, taps, walk
from ttnn_verify.drift.observation.hf_values import HfValue
from ttnn_verify.ops import table
from ttnn_verify.ops.spec import CacheWrite


class DriftUndetermined(jobs.Undetermined):
    """Drift cannot be determined; the message says why."""


@dataclasses.dataclass(frozen=True)
class TracedCall:
    """A call of the model: its operations, and its passes through the layers."""

    calls: tuple[matching.Traced, ...]
    passes: tuple[matching.Matched, ...]

    def pass_of(self, index: int) -> matching.Matched | None:
        """The pass that an operation's call belongs to."""
        return next(
            (matched for matched in self.passes if matched.first <= index < matched.last), None
        )

    def check(self, model_call: walk.ModelCall, index: int, name: str) -> None:
        """Compare an operation that is called with the one in the traced run.

        Raises:
            DriftUndetermined: they differ.
        """
        traced = self.calls[index].name if index < len(self.calls) else "none"
        if traced != name:
            raise DriftUndetermined(
                f"{model_call}: call {index} is {name}, it was {traced} when it was traced."
            )


def trace(
    model: Callable[..., Any],
    sequences: Sequence[walk.TokenSequence],
    steps: Sequence[HfValue],
    returned: Callable[[walk.ModelCall, torch.Tensor], None] = lambda model_call, logits: None,
) -> list[TracedCall]:
    """Run the model once and note its calls without reading values: a `TracedCall` per model call.

    Args:
        returned: called with each call of the model and the logits that it returns.

    Raises:
        DriftUndetermined: the model calls no operation of TTNN.
    """
    traced: list[TracedCall] = []
    calls: list[matching.Traced] = []

    def observe(call: taps.TtnnCall, run: Callable[[], Any]) -> Any:
        operands = tuple(tensor.buffer_unique_id() for tensor in call.operands)
        written = tuple(
            (cache.buffer_unique_id(), source.buffer_unique_id())
            for cache, source in written_pairs(call)
        )
        result = run()
        outputs = taps.device_tensors([result])
        shapes = tuple(tuple(tensor.shape) for tensor in outputs)
        ids = tuple(tensor.buffer_unique_id() for tensor in outputs)
        calls.append(matching.Traced(len(calls), call.name, shapes, ids, operands, written))
        return result

    def begin(model_call: walk.ModelCall) -> None:
        calls.clear()

    def end(model_call: walk.ModelCall, logits: torch.Tensor) -> None:
        returned(model_call, logits)
        passes = matching.passes(calls, steps, model_call.start, model_call.count)
        traced.append(TracedCall(tuple(calls), tuple(passes)))

    with taps.intercept(observe):
        walk.lead(model, sequences, begin, end)
    if not any(traced_call.passes for traced_call in traced):
        raise DriftUndetermined("the model calls no operation of TTNN.")
    return traced


def paired_heads(traced: Sequence[TracedCall], steps: Sequence[HfValue]) -> tuple[int, int] | None:
    """(N + K, D) if the model rotates queries and keys in pairs of columns, None if by halves."""
    if not any(table.spec_of(call.name).pairs for one in traced for call in one.calls):
        return None
    shapes = {step.short: step.shape for step in steps}
    return shapes["q"][0] + shapes["k"][0], shapes["q"][1]


def rewritten(call: taps.TtnnCall) -> list[ttnn.Tensor]:
    """The device tensors that a call from the host writes into."""
    return call.operands if call.name == "ttnn.copy_host_to_device_tensor" else []


def page_table(call: taps.TtnnCall) -> ttnn.Tensor | None:
    """The page table among a call's arguments, None without one."""
    for name in ("page_table", "page_table_tensor"):
        if name in call.kwargs:
            return call.kwargs[name]
    place = table.spec_of(call.name).page_table_at
    return None if place is None or place >= len(call.args) else call.args[place]


def written_pairs(call: taps.TtnnCall) -> list[tuple[ttnn.Tensor, ttnn.Tensor]]:
    """(cache, what is written) for each cache that a call writes."""
    pairs = [_written(call, write) for write in table.spec_of(call.name).writes]
    return [(cache, source) for cache, source in pairs if cache is not None and source is not None]


def _written(
    call: taps.TtnnCall, write: CacheWrite
) -> tuple[ttnn.Tensor | None, ttnn.Tensor | None]:
    return (
        _argument(call, write.cache_at, write.cache),
        _argument(call, write.source_at, write.source),
    )


def _argument(call: taps.TtnnCall, place: int, name: str) -> ttnn.Tensor | None:
    return call.kwargs.get(name, call.args[place] if place < len(call.args) else None)
