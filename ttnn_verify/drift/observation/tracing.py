"""The first run: which calls the model makes, and which of Hugging Face's values each computes."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ttnn_verify.drift.finding import DriftUndetermined
from ttnn_verify.drift.observation import matching, reading, taps, walk
from ttnn_verify.drift.progress import Progress, Run
from ttnn_verify.huggingface.hf_values import HfValue


@dataclasses.dataclass(frozen=True)
class TracedCall:
    """A call of the model: its operations, and its passes through the layers."""

    calls: tuple[matching.Traced, ...]
    passes: tuple[matching.Matched, ...]


def trace(
    model: Callable[..., Any],
    sequences: Sequence[walk.TokenSequence],
    steps: Sequence[HfValue],
    returned: Callable[[walk.ModelCall, torch.Tensor], None] = lambda model_call, logits: None,
    progress: Progress | None = None,
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
        result = run()
        outputs = taps.device_tensors([result])
        shapes = tuple(tuple(tensor.shape) for tensor in outputs)
        rows, columns = reading.mesh_of(outputs[0]) if outputs else (1, 1)
        calls.append(matching.Traced(len(calls), call.name, shapes, (rows, columns)))
        return result

    def begin(model_call: walk.ModelCall) -> None:
        calls.clear()

    def end(model_call: walk.ModelCall, logits: torch.Tensor) -> None:
        returned(model_call, logits)
        passes = matching.passes(calls, steps, model_call.start, model_call.count)
        traced.append(TracedCall(tuple(calls), tuple(passes)))

    told = Run(progress, "run 1", sequences)
    with taps.intercept(told.observing(observe)):
        walk.lead(model, sequences, told.beginning(begin), end)
    if not any(traced_call.passes for traced_call in traced):
        raise DriftUndetermined("the model calls no operation of TTNN.")
    return traced
