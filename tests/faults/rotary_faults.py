"""Faults of rotary position embeddings: kernels, tables, and rows that the model takes of them.

S sequence, D head_dim.
"""

import dataclasses
import itertools

import torch

from model.config import RopeConfig
from model.optimized import phi3, rope

from .inject import Fault, arithmetic, calls, holding, host, in_layers, kernels, of_stage, part

# --- of the device's kernels ---------------------------------------------------------------------

ROTARY = "ttnn.experimental.rotary_embedding"


def other_sign(rotary):
    return lambda x, cos, sin, **formats: rotary(x, cos, -sin, **formats)


def cos_for_sin(rotary):
    return lambda x, cos, sin, **formats: rotary(x, sin, cos, **formats)


def neighbours_paired(rotary):
    """Columns 2 i and 2 i + 1 are rotated together, as in Meta's weights, not i and i + D / 2."""

    def faulty(x, cos, sin, **formats):
        x = x.float()
        turned = torch.stack((-x[..., 1::2], x[..., 0::2]), -1).flatten(-2)
        return x * cos.float() + turned * sin.float()

    return faulty


def tables_from_row(offset):
    """Sequence position s takes row s + offset of the tables."""

    def of(kernel):
        def faulty(launch, x, cos, sin, token_index=None, **kwargs):
            if token_index is None:
                cos, sin = (holding(t, t.data.roll(-offset, -2)) for t in (cos, sin))
            return kernel(launch, x, cos, sin, token_index, **kwargs)

        return faulty

    return of


def token_index(change):
    def of(kernel):
        def faulty(launch, x, cos, sin, token_index=None, **kwargs):
            index = None if token_index is None else change(token_index)
            return kernel(launch, x, cos, sin, index, **kwargs)

        return faulty

    return of


def rotating(name, change, table_name="rotary_embedding", sample="37x64"):
    return Fault(name, "ops", kernels(ROTARY, change), (table_name,), sample)


TOKEN = "rotary_embedding_token"
KERNELS = [
    rotating("rotate half with the other sign", arithmetic("rotary", other_sign)),
    rotating("cos and sin exchanged", arithmetic("rotary", cos_for_sin)),
    rotating("neighbouring columns rotated together", arithmetic("rotary", neighbours_paired)),
    rotating("cos and sin one position late", tables_from_row(1)),
    rotating("rotary index ignored", token_index(lambda index: 0), TOKEN, "at-31"),
    rotating(
        "rotary index one too small", token_index(lambda index: max(index - 1, 0)), TOKEN, "at-31"
    ),
]

# --- of the model --------------------------------------------------------------------------------


def every_other_call_missing(rotary_embedding):
    """Queries are rotated, keys are not."""
    keys = itertools.cycle([False, True])

    def faulty(x, *tables, **kwargs):
        return x if next(keys) else rotary_embedding(x, *tables, **kwargs)

    return faulty


def tables_one_late(cos_sin):
    def faulty(rope, head_dim, long, length):
        return [t[1:] for t in cos_sin(rope, head_dim, long, length + 1)]

    return faulty


def factor_dropped(scaling):
    return property(lambda rope: 1.0)


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


# Why one that is the same for all queries and keys is not seen.
DISTANCES = "attention depends on the distances of positions alone"

PAIRS, PAIRS_DECODE = "rotary_embedding_llama", "rotary_embedding_llama_fused_qk"

OPTIMIZED = [
    in_layers(
        "keys not rotated",
        calls(f"experimental.{PAIRS}", every_other_call_missing),
        "rotary_embedding_llama",
        place=("rope", 0),
    ),
    in_layers(
        "weights not in the rotary kernel's order",
        part(phi3, "_rotary_order", lambda own: lambda wqkv, config: wqkv),
        "rotary_embedding_llama",
        place=(PAIRS, 0),
    ),
    in_layers(
        "rotary tables one position late",
        part(rope, "cos_sin", tables_one_late),
        place=(PAIRS, 0),
        unseen=DISTANCES,
    ),
    in_layers(
        "attention factor dropped",
        part(RopeConfig, "scaling", factor_dropped),
        place=(PAIRS, 0),
    ),
    in_layers(
        "long factors for short",
        part(rope, "inverse_frequencies", factors(True)),
        place=(PAIRS, 0),
    ),
    in_layers("short factors for long", part(rope, "inverse_frequencies", factors(False))),
    in_layers(
        "theta of another model",
        part(rope, "inverse_frequencies", other_theta),
        place=(PAIRS, 0),
    ),
    in_layers(
        "decode rotates by the next position",
        part(rope.RotaryEmbedding, "decode_rows", rows_one_late),
        "rotary_embedding_llama_decode",
        place=(PAIRS_DECODE, 0),
    ),
]

FAULTS = [*KERNELS, *of_stage("optimized", OPTIMIZED)]
