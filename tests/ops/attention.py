"""Scaled dot product attention over a prompt, over a cache, and over pages of one.

B batch, N heads, K kv heads, S queries, D head_dim, C cache length, P pages.
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

# --- pages ---------------------------------------------------------------------------------------

BLOCK = 32  # positions of a page


def table_of(users, pages):
    """[B, pages of a user]: the users' pages in an order that is not the natural one."""
    return torch.randperm(users * pages).reshape(users, pages).to(torch.int32)


def paged(heads, kv_heads, pages, width, positions):
    """Caches [P, K, 32, D] and a page table [B, pages of a user]."""
    users = len(positions)
    shape = (1, users, heads, width)

    def make():
        cache = (users * pages, kv_heads, BLOCK, width)
        index = torch.tensor(positions, dtype=torch.int32)
        return (
            *map(Operand, (plain(*shape), plain(*cache), plain(*cache))),
            Operand(table_of(users, pages), ttnn.int32, ROWS),
            Operand(index, ttnn.int32, ROWS),
        )

    at = "-".join(map(str, positions[:4]))
    return Sample(shape, make, note=note_of(heads, kv_heads, f"at-{at}"))


def sequences(cache, table):
    """[P, K, 32, D] -> [B, K, C, D], the pages in the order of each row of the table."""
    return cache[table.long()].transpose(1, 2).flatten(2, 3)


def paged_call(q, k, v, table, positions):
    return ttnn.transformer.paged_scaled_dot_product_attention_decode(
        q, k, v, table, cur_pos_tensor=positions
    )


def whole(q, k, v, table, positions):
    return q, sequences(k, table), sequences(v, table), positions


PAGED_DECODE = Op(
    "paged_scaled_dot_product_attention_decode",
    call=paged_call,
    golden=lambda *operands: token_golden(*whole(*operands), scale=None),
    floor=lambda golden, *operands: token_floor(golden, *whole(*operands), scale=None),
    samples=(
        paged(4, 4, 2, 64, [0, 63]),
        paged(8, 2, 3, 64, [31, 32, 95, 0]),
        paged(4, 4, 3, 96, [70]),
    ),
    references=(paged(32, 32, 8, 96, [255, 100]), paged(32, 8, 8, 96, [0, 33, 200, 255])),
    errors=(
        Refused(
            "table-in-float",
            lambda device: paged_call(
                on(device, plain(1, 2, 4, 64)),
                *(on(device, plain(4, 4, 32, 64)) for _ in range(2)),
                on(device, torch.ones(2, 2), BF16, ROWS),
                on(device, torch.tensor([1, 2]), ttnn.int32, ROWS),
            ),
            "only supports INT32",
        ),
        Refused(
            "users",
            lambda device: paged_call(
                on(device, plain(1, 2, 4, 64)),
                *(on(device, plain(6, 4, 32, 64)) for _ in range(2)),
                on(device, table_of(3, 2), ttnn.int32, ROWS),
                on(device, torch.tensor([1, 2]), ttnn.int32, ROWS),
            ),
            "must have batch size equal",
        ),
    ),
)

# --- a piece of a prompt over the pages of a sequence --------------------------------------------


def chunk(heads, kv_heads, pages, width, start, length, values=plain):
    """q [1, N, S, D], positions start to start + S - 1, over pages [2 P, K, 32, D], half in use."""
    shape = (1, heads, length, width)

    def make():
        cache = (2 * pages, kv_heads, BLOCK, width)
        q, k, v = values(*shape), values(*cache), plain(*cache)
        if values is massive:
            q, k = q / 30, k / 30
        return (
            *map(Operand, (q, k, v)),
            Operand(table_of(2, pages)[:1], ttnn.int32, ROWS),
            Operand(torch.tensor([start], dtype=torch.int32), ttnn.int32, ROWS),
        )

    return Sample(shape, make, note=note_of(heads, kv_heads, PLAIN[values], f"from-{start}"))


def chunk_call(q, k, v, table, start):
    return ttnn.transformer.chunked_scaled_dot_product_attention(
        input_tensor_q=q,
        input_tensor_k=k,
        input_tensor_v=v,
        page_table_tensor=table,
        chunk_start_idx_tensor=start,
    )


def seen_by(q, k, v, table, start):
    """The keys and values up to the chunk's end."""
    end = int(start) + q.shape[2]
    return (q, *(sequences(x, table)[:, :, :end] for x in (k, v)))


def chunk_golden(*operands):
    q, k, v = seen_by(*operands)
    end = k.shape[2]
    return eager(q, k, v, causal(end)[:, :, end - q.shape[2] :], None)


CHUNKED = Op(
    "chunked_scaled_dot_product_attention",
    call=chunk_call,
    golden=chunk_golden,
    floor=lambda golden, *operands: op_floors.attention(*seen_by(*operands)),
    samples=(
        chunk(4, 4, 8, 64, 0, 64),
        chunk(4, 4, 8, 64, 128, 32),
        chunk(8, 2, 8, 96, 64, 64),
        chunk(2, 2, 16, 128, 256, 128),
    ),
    references=(
        chunk(32, 32, 8, 96, 128, 128),
        chunk(32, 8, 8, 96, 0, 128),
        chunk(32, 32, 8, 96, 128, 64, massive),
    ),
    errors=(
        Refused(
            "table-in-float",
            lambda device: chunk_call(
                on(device, plain(1, 4, 32, 64)),
                *(on(device, plain(8, 4, 32, 64)) for _ in range(2)),
                on(device, torch.ones(1, 8), BF16, ROWS),
                on(device, torch.tensor([0]), ttnn.int32, ROWS),
            ),
            "Page table must be int32",
        ),
        Refused(
            "heads",
            lambda device: chunk_call(
                on(device, plain(1, 3, 32, 64)),
                *(on(device, plain(8, 4, 32, 64)) for _ in range(2)),
                on(device, table_of(1, 8), ttnn.int32, ROWS),
                on(device, torch.tensor([0]), ttnn.int32, ROWS),
            ),
            "num_heads",
        ),
        Refused(
            "layout",
            lambda device: chunk_call(
                on(device, plain(1, 4, 32, 64), layout=ROWS),
                *(on(device, plain(8, 4, 32, 64)) for _ in range(2)),
                on(device, table_of(1, 8), ttnn.int32, ROWS),
                on(device, torch.tensor([0]), ttnn.int32, ROWS),
            ),
            "must be tilized",
        ),
    ),
)

OPS = [SDPA, SDPA_DECODE, PAGED_DECODE, CHUNKED]
