"""The tokens that drift runs a model on: a prompt, tokens after it, and a second sequence.

The second one starts at position 0. It reveals state left over from the first, in the caches and in
the model's own count of positions.
"""

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ttnn_verify.drift.observation import hf_values
from ttnn_verify.huggingface import golden

SECOND = 3  # tokens of the second sequence, each a call of its own


@dataclasses.dataclass(frozen=True)
class TokenSequence:
    """Tokens `[1, S]` with Hugging Face's values, and the number of tokens in each model call."""

    values: hf_values.SequenceValues
    lengths: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class ModelCall:
    """A call of the model: `count` tokens of sequence `sequence` from position `start` on."""

    number: int
    sequence: int
    start: int
    count: int

    def __str__(self) -> str:
        again = "" if self.sequence == 0 else ", second sequence"
        if self.count > 1:
            return f"prompt of {self.count}{again}"
        return f"token at {self.start}{again}"


def sequences(
    hf_model: Any,
    steps: Sequence[hf_values.HfValue],
    ids: torch.Tensor,
    decoded: int,
    load: Callable[[Any, torch.Tensor], golden.Golden] = golden.load,
) -> list[TokenSequence]:
    """The sequences of a walk.

    Args:
        ids: `[1, S]`; the last `decoded` of them are given one at a time.
        load: `load(hf_model, ids)` returns a `ttnn_verify.huggingface.golden.Golden`.
    """
    first = (ids.shape[1] - decoded, *[1] * decoded)
    other = ids.flip(1)[:, :SECOND]
    return [
        TokenSequence(hf_values.values(steps, load(hf_model, tokens)), lengths)
        for tokens, lengths in ((ids, first), (other, (1,) * other.shape[1]))
    ]


def model_calls(sequences: Sequence[TokenSequence]) -> list[ModelCall]:
    """The calls of the model along the sequences, in their order."""
    calls: list[ModelCall] = []
    for number, sequence in enumerate(sequences):
        start = 0
        for count in sequence.lengths:
            calls.append(ModelCall(len(calls), number, start, count))
            start += count
    return calls


@torch.no_grad()
def lead(
    model: Callable[..., Any],
    sequences: Sequence[TokenSequence],
    begin: Callable[[ModelCall], None] = lambda model_call: None,
    end: Callable[[ModelCall, torch.Tensor], None] = lambda model_call, logits: None,
) -> None:
    """Call the model along the sequences, as transformers' generate would.

    Args:
        begin, end: called before each call of the model, and after it with the logits `[1, S, V]`.
    """
    names = inspect.signature(getattr(model, "forward", model)).parameters
    kwargs = {"use_cache": True} if "use_cache" in names else {}
    cache = None
    for call in model_calls(sequences):
        if call.start == 0:
            cache = None
        begin(call)
        ids = sequences[call.sequence].values.tokens[:, call.start : call.start + call.count]
        out = model(input_ids=ids, past_key_values=cache, **kwargs)
        end(call, out.logits)
        cache = out.past_key_values
