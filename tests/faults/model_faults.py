"""Faults in how the model is put together: every operation is right, and it is the wrong one.

The op tier cannot see them. The layer tier is due where a part of a layer errs, the whole model
where parts are right by themselves. S sequence, H hidden, D head_dim, C cache length.
"""

import contextlib
import dataclasses
import itertools

import torch
import ttnn

import model.cache
import model.compute
import model.config
import model.phi3
import model.rope
from model.config import TILE

from .inject import Fault, argument, calls, host, ints, part

DecoderLayer, Attention = model.phi3.DecoderLayer, model.phi3.Attention
Phi3, KVCache, RotaryEmbedding = model.phi3.Phi3, model.cache.KVCache, model.rope.RotaryEmbedding


def in_layers(name, inject, *ops):
    return Fault(name, "layers", inject, ops)


def in_model(name, inject, *ops):
    return Fault(name, "e2e", inject, ops)


# --- a decoder layer -----------------------------------------------------------------------------


def attention_residual_dropped(prefill):
    def faulty(self, x):
        h = self.attention.prefill(self.input_norm(x))
        return ttnn.add(h, self.mlp(self.mlp_norm(h)))

    return faulty


def mlp_residual_dropped(prefill):
    def faulty(self, x):
        h = ttnn.add(x, self.attention.prefill(self.input_norm(x)))
        return self.mlp(self.mlp_norm(h))

    return faulty


def residual_after_the_norm(prefill):
    def faulty(self, x):
        normed = self.input_norm(x)
        h = ttnn.add(normed, self.attention.prefill(normed))
        return ttnn.add(h, self.mlp(self.mlp_norm(h)))

    return faulty


def norms_exchanged(prefill):
    def faulty(self, x):
        h = ttnn.add(x, self.attention.prefill(self.mlp_norm(x)))
        return ttnn.add(h, self.mlp(self.input_norm(h)))

    return faulty


def attention_and_mlp_in_parallel(prefill):
    """As GPT-J and Phi-2 have them."""

    def faulty(self, x):
        h = ttnn.add(x, self.attention.prefill(self.input_norm(x)))
        return ttnn.add(h, self.mlp(self.mlp_norm(x)))

    return faulty


def gate_and_up_exchanged(multiply):
    def faulty(gate, up, **kwargs):
        return multiply(up, gate, **kwargs)

    return faulty


def transposed_unless_square(linear_weight):
    """Hugging Face's [out, in] as it is, where the shape does not object."""

    def faulty(weight, device):
        return linear_weight(weight.T if weight.shape[0] == weight.shape[1] else weight, device)

    return faulty


def layer_part(name, method, change, *ops):
    return in_layers(name, part(DecoderLayer, method, change), *ops)


LAYER = [
    layer_part("attention's residual dropped", "prefill", attention_residual_dropped, "add"),
    layer_part("MLP's residual dropped", "prefill", mlp_residual_dropped, "add"),
    layer_part("residual taken after the norm", "prefill", residual_after_the_norm, "add"),
    layer_part("the layer's norms exchanged", "prefill", norms_exchanged, "rms_norm"),
    layer_part("attention and MLP in parallel", "prefill", attention_and_mlp_in_parallel, "add"),
    in_layers("gate and up exchanged", calls("multiply", gate_and_up_exchanged), "multiply_silu"),
    in_layers(
        "weight transposed where it is square",
        part(model.phi3, "linear_weight", transposed_unless_square),
        "linear",
    ),
    in_layers(
        "norm called without epsilon",
        calls("rms_norm", argument("epsilon", lambda epsilon: 1e-12)),
        "rms_norm",
    ),
    in_layers(
        "norm called without its weight",
        calls("rms_norm", argument("weight", lambda weight: None)),
        "rms_norm",
    ),
]

# --- attention -----------------------------------------------------------------------------------


def q_and_k_exchanged(attention):
    def faulty(q, k, v, **kwargs):
        return attention(k, q, v, **kwargs)

    return faulty


def every_other_call_missing(rotary_embedding):
    """Queries are rotated, keys are not."""
    keys = itertools.cycle([False, True])

    def faulty(x, *tables):
        return x if next(keys) else rotary_embedding(x, *tables)

    return faulty


def row_padded_not_its_halves(spread):
    """Column i goes to column i; the kernel turns i with i + W / 2, in the padding's half."""

    def faulty(head_dim, width):
        return torch.eye(head_dim, width)

    return faulty


def tables_one_late(cos_sin):
    def faulty(rope, head_dim, max_seq_len, length):
        return [t[1:] for t in cos_sin(rope, head_dim, max_seq_len, length + 1)]

    return faulty


def factors_for(max_seq_len):
    def of(inverse_frequencies):
        def faulty(rope, head_dim, asked):
            return inverse_frequencies(rope, head_dim, max_seq_len)

        return faulty

    return of


def other_theta(inverse_frequencies):
    def faulty(rope, *args):
        return inverse_frequencies(dataclasses.replace(rope, theta=500000.0), *args)

    return faulty


def one_more(position):
    return position + 1


def index_in_decode(change):
    def of(decode):
        def faulty(self, x, position):
            return decode(self, x, change(position))

        return faulty

    return of


def keys_for_values(fill):
    def faulty(self, k, v):
        return fill(self, k, k)

    return faulty


def nothing_cached(update):
    return lambda self, k, v, positions: None


def cached_one_late(update):
    def faulty(self, k, v, positions):
        own = host(positions)
        later = torch.where(own >= 0, (own + 1).clamp(max=self.keys.shape[2] - 1), own)
        return update(self, k, v, ints(later, self.device))

    return faulty


SDPA = "transformer.scaled_dot_product_attention"
DECODE = "transformer.scaled_dot_product_attention_decode"

ATTENTION = [
    in_layers(
        "q and k exchanged in the call",
        calls(SDPA, q_and_k_exchanged),
        "scaled_dot_product_attention",
    ),
    in_layers(
        "scale of 128 columns in the call",
        calls(SDPA, argument("scale", lambda scale: 128**-0.5)),
        "scaled_dot_product_attention",
    ),
    in_layers(
        "attention not causal in the call",
        calls(SDPA, argument("is_causal", lambda causal: False)),
        "scaled_dot_product_attention",
    ),
    in_layers(
        "scale of 128 columns in decode's call",
        calls(DECODE, argument("scale", lambda scale: 128**-0.5)),
        "scaled_dot_product_attention_decode",
    ),
    in_layers(
        "keys not rotated",
        calls("experimental.rotary_embedding", every_other_call_missing),
        "rotary_embedding",
    ),
    in_layers(
        "heads padded behind, not by halves",
        part(model.rope, "spread", row_padded_not_its_halves),
        "rotary_embedding",
    ),
    in_layers("rotary tables one position late", part(model.rope, "cos_sin", tables_one_late)),
    in_layers(
        "attention factor dropped",
        part(model.rope, "attention_scaling", lambda own: lambda rope: 1.0),
    ),
    in_layers(
        "long factors for short", part(model.rope, "inverse_frequencies", factors_for(10**9))
    ),
    in_layers("short factors for long", part(model.rope, "inverse_frequencies", factors_for(1))),
    in_layers("theta of another model", part(model.rope, "inverse_frequencies", other_theta)),
    in_layers(
        "decode rotates by the next position",
        part(RotaryEmbedding, "decode", index_in_decode(one_more)),
        "rotary_embedding_token",
    ),
    in_layers("prompt's keys cached for values", part(KVCache, "fill", keys_for_values)),
    in_layers("decode caches nothing", part(KVCache, "update", nothing_cached)),
    in_layers("decode caches one position late", part(KVCache, "update", cached_one_late)),
]

# --- the whole model -----------------------------------------------------------------------------


def one_for_all(make):
    """The layers get the first one's."""
    made = []

    def faulty(*args):
        if not made:
            made.append(make(*args))
        return made[0]

    return faulty


def weights_of_the_first(init):
    def faulty(self, config, weights, prefix, rope, cache):
        init(self, config, weights, "model.layers.0.", rope, cache)

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


def tied(from_hf):
    def faulty(hf):
        return dataclasses.replace(from_hf(hf), tie_word_embeddings=True)

    return faulty


def scaled_embedding(embed):
    """As Gemma has it."""
    return lambda self, ids: ttnn.multiply(embed(self, ids), self.config.hidden_size**0.5)


def next_ids(embed):
    return lambda self, ids: embed(self, (ids + 1) % self.config.vocab_size)


def filled_up(ids):
    """How many tokens a prompt needs to be whole tiles."""
    return -len(ids) % TILE


def rows_of_the_filling(prefill):
    """The last rows of the tiles, not those of the prompt."""

    def faulty(self, ids, keep):
        return prefill(self, torch.nn.functional.pad(ids, (0, filled_up(ids))), keep)

    return faulty


def filled_in_front(prefill):
    def faulty(self, ids, keep):
        return prefill(self, torch.nn.functional.pad(ids, (filled_up(ids), 0)), keep)

    return faulty


def last_token_trimmed(prefill):
    """Each row of logits is the one before."""
    return lambda self, ids, keep: prefill(self, ids, keep).roll(1, 0)


def offset_after_prefill(offset):
    """Decode goes on `offset(ids)` positions further than the prompt ends."""

    def injected():
        state = {"offset": 0}

        def prefilled(prefill):
            def faulty(self, ids, keep):
                state["offset"] = offset(ids)
                return prefill(self, ids, keep)

            return faulty

        def decoded(decode):
            def faulty(self, token, position):
                return decode(self, token, max(position + state["offset"], 0))

            return faulty

        return both(part(Phi3, "prefill", prefilled), part(Phi3, "decode", decoded))

    return injected


def both(first, second):
    stack = contextlib.ExitStack()
    stack.enter_context(first())
    stack.enter_context(second())
    return stack


def greatest_so_far(attention):
    """The rows that a longer sequence before has left are attended too."""
    greatest = [0]

    def faulty(*args, cur_pos_tensor, **kwargs):
        own = host(cur_pos_tensor)
        greatest[0] = max(greatest[0], int(own.max()))
        stale = torch.where(own >= 0, greatest[0], own)
        return attention(*args, cur_pos_tensor=ints(stale, cur_pos_tensor.device()), **kwargs)

    return faulty


def goes_on_where_the_last_one_ended(decode):
    """A new sequence does not begin at position 0."""
    state = {"last": -1, "start": 0}

    def faulty(self, token, position):
        if position == 0:
            state["start"] = state["last"] + 1
        state["last"] = position + state["start"]
        return decode(self, token, state["last"])

    return faulty


MODEL = [
    in_model("one cache for all layers", part(model.phi3, "KVCache", one_for_all)),
    in_model(
        "first layer's weights in all layers", part(DecoderLayer, "__init__", weights_of_the_first)
    ),
    in_model("layers in reverse", part(Phi3, "__init__", layers_changed(lambda x: x[::-1]))),
    in_model("last layer left out", part(Phi3, "__init__", layers_changed(lambda x: x[:-1]))),
    in_model("final norm left out", part(Phi3, "_logits", without_the_final_norm)),
    in_model(
        "head tied to the embedding",
        part(model.config.ModelConfig, "from_hf", tied),
    ),
    in_model("embedding scaled", part(Phi3, "_embed", scaled_embedding), "embedding"),
    in_model("token ids one too large", part(Phi3, "_embed", next_ids), "embedding"),
    in_model("logits of the filling tokens", part(Phi3, "prefill", rows_of_the_filling), "slice"),
    in_model("prompt filled up in front", part(Phi3, "prefill", filled_in_front)),
    in_model("last token trimmed wrongly", part(Phi3, "prefill", last_token_trimmed), "slice"),
    in_model("decode counts the filling tokens", offset_after_prefill(filled_up)),
    in_model("decode begins at position 0", offset_after_prefill(lambda ids: -len(ids))),
    in_model("stale rows attended after a reset", calls(DECODE, greatest_so_far)),
    in_model(
        "position not reset for a new sequence",
        part(Phi3, "decode", goes_on_where_the_last_one_ended),
    ),
]

FAULTS = [*LAYER, *ATTENTION, *MODEL]
