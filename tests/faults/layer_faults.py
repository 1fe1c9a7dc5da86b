"""Faults in how a layer is put together: every operation is right, and it is the wrong one.

The op tier cannot see them, the layer tier must. S sequence, H hidden, D head_dim, C cache length.
"""

import dataclasses
import itertools

import torch
import ttnn

import model.weights
from model.optimized import cache, phi3, rope

from .inject import Fault, argument, calls, host, ints, nothing, part

DecoderLayer, KVCache = phi3.DecoderLayer, cache.KVCache


def in_layers(name, inject, *ops, arithmetic="rounded"):
    return Fault(name, "layers", inject, ops, arithmetic=arithmetic)


# --- a decoder layer -----------------------------------------------------------------------------


def attention_residual_dropped(prefill):
    def faulty(self, x, chunk):
        h = self.attention.prefill(self.input_norm(x), chunk)
        return ttnn.add(h, self.mlp(self.mlp_norm(h)))

    return faulty


def mlp_residual_dropped(prefill):
    def faulty(self, x, chunk):
        h = ttnn.add(x, self.attention.prefill(self.input_norm(x), chunk))
        return self.mlp(self.mlp_norm(h))

    return faulty


def residual_after_the_norm(prefill):
    def faulty(self, x, chunk):
        normed = self.input_norm(x)
        h = ttnn.add(normed, self.attention.prefill(normed, chunk))
        return ttnn.add(h, self.mlp(self.mlp_norm(h)))

    return faulty


def norms_exchanged(prefill):
    def faulty(self, x, chunk):
        h = ttnn.add(x, self.attention.prefill(self.mlp_norm(x), chunk))
        return ttnn.add(h, self.mlp(self.input_norm(h)))

    return faulty


def attention_and_mlp_in_parallel(prefill):
    """As GPT-J and Phi-2 have them."""

    def faulty(self, x, chunk):
        h = ttnn.add(x, self.attention.prefill(self.input_norm(x), chunk))
        return ttnn.add(h, self.mlp(self.mlp_norm(x)))

    return faulty


def gate_and_up_exchanged(multiply):
    def faulty(gate, up, **kwargs):
        return multiply(up, gate, **kwargs)

    return faulty


def transposed_unless_square(linear):
    """Hugging Face's [out, in] as it is, where the shape does not object."""

    def faulty(self, weight, dtype):
        return linear(self, weight.T if weight.shape[0] == weight.shape[1] else weight, dtype)

    return faulty


def in_bfloat8(as_tensor):
    """Weights go to the device in a format of fewer bits."""

    def faulty(tensor, dtype=None, layout=None, **kwargs):
        if dtype == ttnn.bfloat16 and layout == ttnn.TILE_LAYOUT:
            dtype = ttnn.bfloat8_b
        return as_tensor(tensor, dtype=dtype, layout=layout, **kwargs)

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
        part(model.weights.DeviceWeights, "linear", transposed_unless_square),
        "linear",
    ),
    in_layers("model's weights in bfp8", calls("as_tensor", in_bfloat8), "linear"),
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


def q_and_k_exchanged(create_heads):
    def faulty(*args, **kwargs):
        q, k, v = create_heads(*args, **kwargs)
        return k, q, v

    return faulty


def every_other_call_missing(rotary_embedding):
    """Queries are rotated, keys are not."""
    keys = itertools.cycle([False, True])

    def faulty(x, *tables, **kwargs):
        return x if next(keys) else rotary_embedding(x, *tables, **kwargs)

    return faulty


def of_two_tiles_later(start):
    """Queries see keys of rows after them."""
    return ints(host(start) + 64, start.device())


def tables_one_late(cos_sin):
    def faulty(rope, head_dim, long, length):
        return [t[1:] for t in cos_sin(rope, head_dim, long, length + 1)]

    return faulty


def factors(long):
    def of(inverse_frequencies):
        return lambda rope, head_dim, asked: inverse_frequencies(rope, head_dim, long)

    return of


def other_theta(inverse_frequencies):
    def faulty(rope, *args):
        return inverse_frequencies(dataclasses.replace(rope, theta=500000.0), *args)

    return faulty


def rows_one_late(decode_rows):
    def faulty(self, ids):
        return decode_rows(self, phi3.ints(host(ids).long() + 1, ids.dtype, ids.device()))

    return faulty


def keys_for_values(fill):
    def faulty(self, k, v, pages):
        return fill(self, k, k, pages)

    return faulty


def nothing_cached(update):
    return lambda self, k, v, positions, pages: None


def cached_one_late(update):
    def faulty(self, k, v, positions, pages):
        own = host(positions)
        later = torch.where(own >= 0, own + 1, own)
        return update(self, k, v, ints(later, positions.device()), pages)

    return faulty


SDPA = "transformer.chunked_scaled_dot_product_attention"
DECODE = "transformer.paged_scaled_dot_product_attention_decode"

ATTENTION = [
    in_layers(
        "q and k exchanged after the projection",
        calls("experimental.nlp_create_qkv_heads", q_and_k_exchanged),
        "nlp_create_qkv_heads",
    ),
    in_layers(
        "attention sees later keys",
        calls(SDPA, argument("chunk_start_idx_tensor", of_two_tiles_later)),
    ),
    in_layers(
        "scale of 128 columns in decode's call",
        calls(DECODE, argument("scale", lambda scale: 128**-0.5)),
        "paged_scaled_dot_product_attention_decode",
    ),
    in_layers(
        "keys not rotated",
        calls("experimental.rotary_embedding_llama", every_other_call_missing),
        "rotary_embedding_llama",
    ),
    in_layers(
        "weights not in the rotary kernel's order",
        part(phi3, "_rotary_order", lambda own: lambda wqkv, config: wqkv),
        "rotary_embedding_llama",
    ),
    in_layers("rotary tables one position late", part(rope, "cos_sin", tables_one_late)),
    in_layers(
        "attention factor dropped",
        part(rope, "attention_scaling", lambda own: lambda rope: 1.0),
    ),
    in_layers("long factors for short", part(rope, "inverse_frequencies", factors(True))),
    in_layers("short factors for long", part(rope, "inverse_frequencies", factors(False))),
    in_layers("theta of another model", part(rope, "inverse_frequencies", other_theta)),
    in_layers(
        "decode rotates by the next position",
        part(rope.RotaryEmbedding, "decode_rows", rows_one_late),
        "rotary_embedding_llama_decode",
    ),
    in_layers("prompt's keys cached for values", part(KVCache, "fill", keys_for_values)),
    in_layers("decode caches nothing", part(KVCache, "update", nothing_cached)),
    in_layers("decode caches one position late", part(KVCache, "update", cached_one_late)),
]

FAULTS = [*LAYER, *ATTENTION]
