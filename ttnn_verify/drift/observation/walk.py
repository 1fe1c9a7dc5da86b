"""The tokens that drift runs a model on: sequences, each in several calls of the model.

The first is the prompt and tokens after it, one at a time. Others start at position 0 again, token
by token and as a shorter prompt: they reveal state left over from the first, in the caches and in
the model's own count of positions. The last has two rows, for models that take a batch.
"""

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ttnn_verify.huggingface import model_results

SECOND = 3  # tokens of the second sequence, each a call of its own
AGAIN = (5, 1)  # tokens of the calls of a prompt on a cache that is filled already
BATCHED = (6, 1, 1)  # of the calls with two rows
SEVERAL = "two rows"


@dataclasses.dataclass(frozen=True)
class TokenSequence:
    """Tokens that a model is given, a row for each sequence of a batch.

    Attributes:
        rows: tokens `[S]` int64 of each.
        counts: how many tokens of each row a call of the model is given, per call.
        label: in words, "" for the prompt.
        optional: whether a model may refuse it.
    """

    rows: tuple[torch.Tensor, ...]
    counts: tuple[tuple[int, ...], ...]
    label: str = ""
    optional: bool = False


@dataclasses.dataclass(frozen=True)
class ModelCall:
    """A call of the model: of each row of sequence `sequence` the tokens `starts` to `ends`."""

    number: int
    sequence: int
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    label: str = ""

    @property
    def start(self) -> int:
        """The first row's first position."""
        return self.starts[0]

    @property
    def count(self) -> int:
        """The number of tokens of the longest row."""
        return max(end - start for start, end in zip(self.starts, self.ends, strict=True))

    def __str__(self) -> str:
        again = f", {self.label}" if self.label else ""
        if self.count > 1:
            after = f" after {self.start}" if self.start else ""
            return f"prompt of {self.count}{after}{again}"
        return f"token at {self.start}{again}"


def sequences(ids: torch.Tensor, decoded: int) -> list[TokenSequence]:
    """The sequences of a walk along ids `[1, S]`, the last `decoded` of them one at a time."""
    tokens = ids[0]
    backward = tokens.flip(0).repeat(-(-sum(BATCHED) // len(tokens)))
    forward = tokens.repeat(-(-sum(BATCHED) // len(tokens)))
    several = forward[: sum(BATCHED)], backward[: sum(BATCHED)]
    again = backward[-sum(AGAIN) :]
    return [
        _sequence((tokens,), (len(tokens) - decoded, *[1] * decoded)),
        _sequence((backward[:SECOND],), (1,) * len(backward[:SECOND]), "second sequence"),
        _sequence((again,), AGAIN, "on a filled cache"),
        _sequence(several, BATCHED, SEVERAL, optional=True),
    ]


def _sequence(
    rows: tuple[torch.Tensor, ...], counts: tuple[int, ...], label: str = "", optional: bool = False
) -> TokenSequence:
    return TokenSequence(rows, tuple((count,) * len(rows) for count in counts), label, optional)


def model_calls(sequences: Sequence[TokenSequence]) -> list[ModelCall]:
    """The calls of the model along the sequences, in their order."""
    calls: list[ModelCall] = []
    for number, sequence in enumerate(sequences):
        starts = (0,) * len(sequence.rows)
        for counts in sequence.counts:
            ends = tuple(start + count for start, count in zip(starts, counts, strict=True))
            calls.append(ModelCall(len(calls), number, starts, ends, sequence.label))
            starts = ends
    return calls


@torch.no_grad()
def lead(
    model: Callable[..., Any],
    sequences: Sequence[TokenSequence],
    begin: Callable[[ModelCall], None] = lambda model_call: None,
    end: Callable[[ModelCall, torch.Tensor], None] = lambda model_call, logits: None,
    refused: Callable[[ModelCall, Exception], None] = lambda model_call, error: None,
    vocab: int | None = None,
) -> None:
    """Call the model along the sequences, as transformers' generate would.

    Args:
        begin, end: called before each call of the model, and after it with the logits `[B, S, V]`.
        refused: called where the model fails in an optional sequence, which is left then.
        vocab: how many logits there must be for a token, where that is known.

    Raises:
        inputs.ModelFails: what the model returns is not what `model_results` asks for.
    """
    names = inspect.signature(getattr(model, "forward", model)).parameters
    kwargs = {"use_cache": True} if "use_cache" in names else {}
    cache, left = None, -1
    for call in model_calls(sequences):
        if call.sequence == left:
            continue
        if not any(call.starts):
            cache = None
        begin(call)
        sequence = sequences[call.sequence]
        parts = zip(sequence.rows, call.starts, call.ends, strict=True)
        ids = torch.stack([tokens[start:stop] for tokens, start, stop in parts])
        try:
            out = model(input_ids=ids, past_key_values=cache, **kwargs)
            logits = model_results.logits_of(out, ids.shape[0], ids.shape[1], vocab)
            last = call.ends == tuple(len(tokens) for tokens in sequence.rows)
            cache = None if last else model_results.past_key_values_of(out)
        except Exception as error:
            if not sequence.optional:
                raise
            refused(call, error)
            left = call.sequence
            continue
        end(call, logits)
