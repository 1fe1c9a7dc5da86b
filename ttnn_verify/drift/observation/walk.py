"""The way a model is led for drift: a prompt, tokens after it, and a second sequence from position 0.

The second one shows what the first has left behind: in the caches, and in the model's own counting.
"""

import dataclasses
import inspect

import torch

from ttnn_verify.drift.observation import hf_values
from ttnn_verify.huggingface import golden

SECOND = 3  # tokens of the second sequence, each a call of its own


@dataclasses.dataclass(frozen=True)
class Sequence:
    """Tokens `[1, S]` that the model is given in pieces of these lengths, and what is due of them."""

    values: hf_values.Values
    pieces: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Piece:
    """A call of the model: `count` tokens of sequence `sequence` from position `start` on."""

    number: int
    sequence: int
    start: int
    count: int

    def __str__(self):
        again = "" if self.sequence == 0 else ", second sequence"
        if self.count > 1:
            return f"prompt of {self.count}{again}"
        return f"token at {self.start}{again}"


def sequences(hf_model, steps, ids, decoded, load=golden.load):
    """The sequences of a walk.

    Args:
        ids: `[1, S]`; the last `decoded` of them are given one at a time.
        load: `load(hf_model, ids)` returns a `ttnn_verify.huggingface.golden.Golden`.
    """
    made = [(ids, (ids.shape[1] - decoded, *[1] * decoded))]
    other = ids.flip(1)[:, :SECOND]
    made.append((other, (1,) * other.shape[1]))
    return [
        Sequence(hf_values.values(steps, load(hf_model, tokens)), pieces) for tokens, pieces in made
    ]


@torch.no_grad()
def lead(model, sequences, begin=lambda piece: None, end=lambda piece, logits: None):
    """Call the model along the sequences, as transformers' generate would."""
    names = inspect.signature(getattr(model, "forward", model)).parameters
    kwargs = {"use_cache": True} if "use_cache" in names else {}
    number = 0
    for which, sequence in enumerate(sequences):
        cache, start = None, 0
        for count in sequence.pieces:
            piece = Piece(number, which, start, count)
            begin(piece)
            ids = sequence.values.tokens[:, start : start + count]
            out = model(input_ids=ids, past_key_values=cache, **kwargs)
            end(piece, out.logits)
            cache, start, number = out.past_key_values, start + count, number + 1
