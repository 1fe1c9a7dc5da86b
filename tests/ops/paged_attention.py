"""Scaled dot product attention over pages of a cache, of a token and of a piece of a prompt.

B batch, N heads, K kv heads, S queries, D head_dim, C cache length, P pages of 32 positions.
"""

import torch
import ttnn

from tests.support.tensors import TILE
from ttnn_verify.numerics import op_floors

from .attention import (
    BF16,
    ROWS,
    causal,
    eager,
    note_of,
    token_floor,
    token_golden,
)
from .operands import on
from .opinfo import PLAIN, Op, Operand, Refused, Sample, massive, plain

BLOCK = TILE  # positions of a page


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

OPS = [PAGED_DECODE, CHUNKED]
