"""Scaled dot product attention over a prompt and over a cache.

B batch, N heads, K kv heads, S queries, D head_dim, C cache length.
"""

import types

import torch
import ttnn
from transformers.models.phi3.modeling_phi3 import eager_attention_forward

from ttnn_verify.numerics import op_floors

from .operands import on
from .opinfo import PLAIN, Op, Operand, Refused, Sample, massive, plain

BF16, BFP8 = ttnn.bfloat16, ttnn.bfloat8_b
ROWS = ttnn.ROW_MAJOR_LAYOUT


def eager(query, key, value, mask, scale):
    """Hugging Face's attention: [B, N, S, D], [B, K, T, D] twice, mask [B or 1, 1, S, T]."""
    groups = types.SimpleNamespace(
        num_key_value_groups=query.shape[1] // key.shape[1], training=False
    )
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    out, _ = eager_attention_forward(groups, query, key, value, mask, scaling=scale)
    return out.transpose(1, 2)


def hidden(seen):
    """True where a query sees a key -> the mask that is added to the scores."""
    return torch.zeros(seen.shape, dtype=torch.float64).masked_fill(~seen, -torch.inf)


def note_of(heads, kv_heads, *marks):
    grouped = f"{kv_heads}-kv" if kv_heads != heads else ""
    return "-".join(filter(None, (grouped, *marks)))


# --- prompt --------------------------------------------------------------------------------------


def causal(length):
    return hidden(torch.ones(length, length, dtype=torch.bool).tril())[None, None]


def prompt(shape, kv_heads, dtype=BF16, values=plain, memory="dram", is_causal=True, scale=None):
    """q [B, N, S, D] of `shape`, k and v [B, K, S, D]; massive channels are those of q and k."""
    batch, heads, length, width = shape

    def make():
        q, k = values(*shape), values(batch, kv_heads, length, width)
        if values is massive:  # scores of the size that a trained model has
            q, k = q / 30, k / 30
        v = plain(batch, kv_heads, length, width)
        return tuple(Operand(x, dtype, memory=memory) for x in (q, k, v))

    note = note_of(
        heads, kv_heads, PLAIN[values], "" if is_causal else "full", scale and f"scale-{scale}"
    )
    return Sample(
        shape, make, dtype, memory, note, {"is_causal": is_causal, "scale": scale, "dtype": dtype}
    )


def prompt_golden(q, k, v, *, is_causal, scale, dtype):
    return eager(q, k, v, causal(q.shape[2]) if is_causal else None, scale)


def prompt_floor(golden, q, k, v, *, is_causal, scale, dtype):
    return op_floors.attention(q, k, v, scale=scale, causal=is_causal, out=dtype.name.lower())


def sdpa(q, k, v, **kwargs):
    return ttnn.transformer.scaled_dot_product_attention(q, k, v, **kwargs)


SDPA = Op(
    "scaled_dot_product_attention",
    call=lambda *qkv, dtype, **kwargs: sdpa(*qkv, **kwargs),
    golden=prompt_golden,
    floor=prompt_floor,
    samples=(
        prompt((1, 4, 64, 96), 4),
        prompt((1, 8, 37, 64), 2),
        prompt((2, 3, 100, 32), 1),
        prompt((1, 2, 1, 64), 2),
        prompt((1, 2, 33, 128), 2),
        prompt((1, 4, 64, 96), 4, memory="l1"),
        prompt((1, 4, 64, 64), 4, scale=0.5),
        prompt((2, 4, 64, 64), 2, is_causal=False),
        prompt((1, 4, 37, 64), 4, is_causal=False),
        prompt((1, 4, 64, 64), 4, BFP8),
    ),
    references=(
        prompt((1, 32, 128, 96), 32),
        prompt((1, 32, 155, 96), 32),
        prompt((1, 32, 128, 96), 8),
        prompt((1, 32, 128, 96), 32, values=massive),
    ),
    errors=(
        Refused(
            "heads",
            lambda device: sdpa(
                *(on(device, plain(1, n, 32, 64)) for n in (4, 3, 3)), is_causal=True
            ),
            "num_heads",
        ),
        Refused(
            "width",
            lambda device: sdpa(
                *(on(device, plain(1, 4, 32, d)) for d in (64, 96, 96)), is_causal=True
            ),
            "hidden dim must match",
        ),
        Refused(
            "layout",
            lambda device: sdpa(
                *(on(device, plain(1, 4, 32, 64), layout=ROWS) for _ in range(3)), is_causal=True
            ),
            "must be tilized",
        ),
        Refused(
            "float32",
            lambda device: sdpa(
                *(on(device, plain(1, 4, 32, 64), ttnn.float32) for _ in range(3)), is_causal=True
            ),
            "must be BFLOAT16",
        ),
    ),
)

# --- one query of every user over its cache ------------------------------------------------------


def positions_mask(positions, length):
    """[B, 1, 1, C]: user b sees the rows 0 to positions[b]."""
    return hidden(torch.arange(length) <= torch.tensor(positions)[:, None])[:, None, None]


def token(heads, kv_heads, length, width, positions, values=plain, memory="dram", scale=None):
    """q [1, B, N, D] over caches [B, K, C, D]; a position for each of B users."""
    shape = (1, len(positions), heads, width)

    def make():
        cache = (len(positions), kv_heads, length, width)
        q, k, v = values(*shape), values(*cache), plain(*cache)
        if values is massive:
            q, k = q / 30, k / 30
        index = torch.tensor(positions, dtype=torch.int32)
        return (
            Operand(q, memory=memory),
            Operand(k),
            Operand(v),
            Operand(index, ttnn.int32, ROWS),
        )

    at = "-".join(map(str, positions[:4]))
    note = note_of(heads, kv_heads, PLAIN[values], f"at-{at}", scale and f"scale-{scale}")
    return Sample(shape, make, memory=memory, note=note, kwargs={"scale": scale})


def token_golden(q, k, v, positions, *, scale):
    mask = positions_mask(positions.tolist(), k.shape[2])
    return eager(q.transpose(0, 1).transpose(1, 2), k, v, mask, scale)[:, :, 0][None]


def token_floor(golden, q, k, v, positions, *, scale):
    mask = positions_mask(positions.tolist(), k.shape[2])
    query = q.transpose(0, 1).transpose(1, 2)
    return op_floors.attention(query, k, v, scale=scale, causal=False, mask=mask)


def sdpa_decode(q, k, v, positions, **kwargs):
    return ttnn.transformer.scaled_dot_product_attention_decode(
        q, k, v, cur_pos_tensor=positions, **kwargs
    )


SDPA_DECODE = Op(
    "scaled_dot_product_attention_decode",
    call=sdpa_decode,
    golden=token_golden,
    floor=token_floor,
    samples=(
        token(4, 4, 96, 96, [0, 31, 32, 95]),
        token(8, 2, 96, 64, [0, 31, 32, 95]),
        token(8, 2, 96, 64, [95, 1, 50, 33], memory="height"),
        token(4, 4, 64, 64, [0]),
        token(4, 4, 64, 64, [63]),
        token(4, 1, 64, 32, [7, 40], scale=0.5),
    ),
    references=(
        token(32, 32, 256, 96, [255]),
        token(32, 8, 256, 96, [8 * user for user in range(32)]),
        token(32, 8, 256, 96, [0, 100, 200, 255]),
        token(32, 32, 256, 96, [10, 255], values=massive),
    ),
    errors=(
        Refused(
            "width",
            lambda device: sdpa_decode(
                on(device, plain(1, 2, 4, 64)),
                *(on(device, plain(2, 4, 64, 96)) for _ in range(2)),
                on(device, torch.tensor([1, 2]), ttnn.int32, ROWS),
            ),
            "must equal Q tensor hidden dimension",
        ),
        Refused(
            "layout",
            lambda device: sdpa_decode(
                on(device, plain(1, 2, 4, 64)),
                *(on(device, plain(2, 4, 64, 64), layout=ROWS) for _ in range(2)),
                on(device, torch.tensor([1, 2]), ttnn.int32, ROWS),
            ),
            "must be tilized",
        ),
        Refused(
            "cache-length",
            lambda device: sdpa_decode(
                on(device, plain(1, 2, 4, 64)),
                *(on(device, plain(2, 4, length, 64)) for length in (64, 96)),
                on(device, torch.tensor([1, 2]), ttnn.int32, ROWS),
            ),
            "same sequence length",
        ),
    ),
)

OPS = [SDPA, SDPA_DECODE]
