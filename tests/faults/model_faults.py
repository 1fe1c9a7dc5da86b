"""Faults in how the model is put together of layers that are right by themselves.

Only the whole model shows them. S sequence, H hidden, V vocabulary.
"""

import contextlib

import ttnn

import model.weights
from model.optimized import phi3
from tests.support.tensors import TILE

from .inject import host, in_model, of_stage, part
from .rotary_faults import PAIRS

DecoderLayer, Phi3 = phi3.DecoderLayer, phi3.Phi3


def weights_of_the_first(init):
    def faulty(self, config, weights, prefix, *others):
        init(self, config, weights, "model.layers.0.", *others)

    return faulty


def layers_changed(change):
    def of(init):
        def faulty(self, *args):
            init(self, *args)
            self.layers = change(self.layers)

        return faulty

    return of


def without_the_final_norm(logits):
    def faulty(self, x):
        own, self.norm = self.norm, lambda x: x
        try:
            return logits(self, x)
        finally:
            self.norm = own

    return faulty


def tied(ends):
    return lambda self, *args: ends(self, *args)[:1] * 2


def scaled_embedding(embed):
    """As Gemma has it."""
    return lambda self, *args: ttnn.multiply(embed(self, *args), self.config.hidden_size**0.5)


def next_ids(embed):
    def faulty(self, ids, place):
        later = (host(ids).long() + 1) % self.config.vocab_size
        return embed(self, phi3.ints(later, ids.dtype, ids.device()), place)

    return faulty


def filled_up(ids):
    """How many tokens a prompt needs to be whole tiles."""
    return -len(ids) % TILE


def rows_of_the_filling(prefill):
    """The last rows of the tiles, not those of the prompt."""

    def faulty(self, ids, *args):
        return prefill(self, ids + [0] * filled_up(ids), *args)

    return faulty


def filled_in_front(prefill):
    def faulty(self, ids, *args):
        return prefill(self, [0] * filled_up(ids) + ids, *args)

    return faulty


def last_token_trimmed(prefill):
    """Each row of logits is the one before."""
    return lambda self, *args: prefill(self, *args).roll(1, 0)


def offset_after_prefill(offset, owner=Phi3):
    """Decode of a stage's model goes on `offset(ids)` positions further than the prompt ends."""

    def injected():
        state = {"offset": 0}

        def prefilled(prefill):
            def faulty(self, ids, *args):
                state["offset"] = offset(ids)
                return prefill(self, ids, *args)

            return faulty

        def decoded(decode):
            def faulty(self, tokens, positions):
                moved = [p if p < 0 else max(p + state["offset"], 0) for p in positions]
                return decode(self, tokens, moved)

            return faulty

        return both(part(owner, "prefill", prefilled), part(owner, "decode", decoded))

    return injected


def both(first, second):
    stack = contextlib.ExitStack()
    stack.enter_context(first())
    stack.enter_context(second())
    return stack


def goes_on_where_the_last_one_ended(decode):
    """A new sequence does not begin at position 0."""
    state = {"last": -1, "start": 0}

    def faulty(self, tokens, positions):
        if positions[0] == 0:
            state["start"] = state["last"] + 1
        state["last"] = positions[0] + state["start"]
        return decode(self, tokens, [state["last"]])

    return faulty


ROTARY = "_fused_qk"  # of q and k in a step
EMBEDDED, SCALED, TRIMMED = ("embedding", None), ("multiply", None), ("slice", 0)  # places

OPTIMIZED = [
    in_model(
        "first layer's weights in all layers",
        part(DecoderLayer, "__init__", weights_of_the_first),
        place=("norm", 1),
    ),
    in_model(
        "layers in reverse",
        part(Phi3, "__init__", layers_changed(lambda x: x[::-1])),
        place=("norm", 0),
    ),
    in_model(
        "last layer left out",
        part(Phi3, "__init__", layers_changed(lambda x: x[:-1])),
        place=("norm", 3),
    ),
    in_model(
        "final norm left out", part(Phi3, "_logits", without_the_final_norm), place=("norm", None)
    ),
    in_model(
        "embedding scaled",
        part(Phi3, "_embed", scaled_embedding),
        "embedding",
        place=SCALED,
    ),
    in_model(
        "token ids one too large",
        part(Phi3, "_embed", next_ids),
        "embedding",
        place=EMBEDDED,
    ),
    in_model(
        "logits of the filling tokens",
        part(Phi3, "prefill", rows_of_the_filling),
        "slice",
        place=("slice", None),
    ),
    in_model(
        "prompt filled up in front",
        part(Phi3, "prefill", filled_in_front),
        # the tokens' vectors are right wherever they lie; at their new positions they are rotated
        place=(PAIRS, 0),
    ),
    in_model(
        "last token trimmed wrongly",
        part(Phi3, "prefill", last_token_trimmed),
        "slice",
        place=("to_torch", None),
    ),
    in_model(
        "decode counts the filling tokens", offset_after_prefill(filled_up), place=(ROTARY, 0)
    ),
    in_model(
        "decode begins at position 0",
        offset_after_prefill(lambda ids: -len(ids)),
        place=(ROTARY, 0),
    ),
    in_model(
        "position not reset for a new sequence",
        part(Phi3, "decode", goes_on_where_the_last_one_ended),
        place=(ROTARY, 0),
    ),
]

FAULTS = [
    *of_stage("optimized", OPTIMIZED),
    in_model(
        "head tied to the embedding",
        part(model.weights.DeviceWeights, "ends", tied),
        place=("linear", None),
    ),
]
