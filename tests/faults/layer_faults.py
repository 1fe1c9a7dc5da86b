"""Faults in how a layer is put together: every operation is right, and it is the wrong one.

The op tier cannot see them, the layer tier must. S sequence, H hidden, D head_dim, C cache length.
"""

import dataclasses
import itertools

import torch
import ttnn

import model.cache
import model.phi3
import model.rope

from .inject import Fault, argument, calls, host, ints, nothing, part

DecoderLayer, KVCache = model.phi3.DecoderLayer, model.cache.KVCache


def in_layers(name, inject, *ops, arithmetic="rounded"):
    return Fault(name, "layers", inject, ops, arithmetic=arithmetic)


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


def in_bfloat8(from_torch):
    """Weights go to the device in a format of fewer bits."""

    def faulty(tensor, dtype=None, layout=None, **kwargs):
        if dtype == ttnn.bfloat16 and layout == ttnn.TILE_LAYOUT:
            dtype = ttnn.bfloat8_b
        return from_torch(tensor, dtype=dtype, layout=layout, **kwargs)

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
    in_layers("model's weights in bfp8", calls("from_torch", in_bfloat8), "linear"),
    in_layers(
        "norm called without epsilon",
        calls("rms_norm", argument("epsilon", lambda epsilon: 1e-12)),
        "rms_norm",
    ),
    in_layers(
        "norm called without its weight",
        calls("rms_norm", argument("weight", nothing)),
        "rms_norm",
    ),
    in_layers(
        "products without a compute configuration",
        calls("linear", argument("compute_kernel_config", nothing)),
        "linear",
        arithmetic="kernel",
    ),
    in_layers(
        "norms without a compute configuration",
        calls("rms_norm", argument("compute_kernel_config", nothing)),
        "rms_norm",
        arithmetic="kernel",
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
        part(model.rope.RotaryEmbedding, "decode", index_in_decode(one_more)),
        "rotary_embedding_token",
    ),
    in_layers("prompt's keys cached for values", part(KVCache, "fill", keys_for_values)),
    in_layers("decode caches nothing", part(KVCache, "update", nothing_cached)),
    in_layers("decode caches one position late", part(KVCache, "update", cached_one_late)),
]

FAULTS = [*LAYER, *ATTENTION]
