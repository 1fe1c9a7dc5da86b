"""Attention over latent keys, whose first columns are the values; and over two sequences at once.

B batch, N heads, S queries, D head_dim of queries and keys, V of values, C cache length, P pages.
"""

import torch
import ttnn

from ttnn_verify.numerics import op_floors

from .attention import ROWS, causal, eager, positions_mask
from .operands import on
from .opinfo import Op, Operand, Refused, Sample, plain
from .paged_attention import BLOCK, sequences, table_of

T = ttnn.transformer
CONFIG = ttnn.SDPAProgramConfig(
    compute_with_storage_grid_size=(8, 8), q_chunk_size=32, k_chunk_size=32
)


def values_of(k, width):
    return k[..., :width]


# --- prompt --------------------------------------------------------------------------------------


def prompt(shape, width, is_causal=True):
    """q [B, N, S, D] of `shape`, k [B, 1, S, D] of whose columns `width` are the values."""
    batch, _, length, columns = shape

    def make():
        return Operand(plain(*shape)), Operand(plain(batch, 1, length, columns))

    note = f"{width}-values" + ("" if is_causal else "-full")
    return Sample(shape, make, note=note, kwargs={"width": width, "is_causal": is_causal})


PREFILL = Op(
    "flash_mla_prefill",
    call=lambda q, k, *, width, is_causal: T.flash_mla_prefill(q, k, width, is_causal=is_causal),
    golden=lambda q, k, *, width, is_causal: eager(
        q, k, values_of(k, width), causal(q.shape[2]) if is_causal else None, None
    ),
    floor=lambda golden, q, k, *, width, is_causal: op_floors.attention(
        q, k, values_of(k, width), causal=is_causal
    ),
    samples=(
        prompt((1, 4, 64, 96), 64),
        prompt((1, 2, 37, 64), 32),
        prompt((2, 2, 32, 96), 64, is_causal=False),
    ),
    references=(prompt((1, 16, 64, 576), 512),),
    errors=(
        Refused(
            "layout",
            lambda device: T.flash_mla_prefill(
                on(device, plain(1, 4, 32, 64), layout=ROWS),
                on(device, plain(1, 1, 32, 64), layout=ROWS),
                32,
            ),
            "must be tilized",
        ),
    ),
)


def chunk(shape, width, start, pages):
    """Queries [1, N, S, D] from position `start` on, over pages [P, 1, 32, D]."""

    def make():
        return (
            Operand(plain(*shape)),
            Operand(plain(pages, 1, BLOCK, shape[-1])),
            Operand(table_of(1, pages), ttnn.int32, ROWS),
        )

    return Sample(shape, make, note=f"from-{start}", kwargs={"width": width, "start": start})


def chunk_operands(q, cache, table, width, start):
    k = sequences(cache, table)[:, :, : start + q.shape[2]]
    seen = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril(start)
    return k, values_of(k, width), torch.zeros(seen.shape).masked_fill(~seen, -torch.inf)


def chunk_golden(q, cache, table, *, width, start):
    k, v, mask = chunk_operands(q, cache, table, width, start)
    return eager(q, k, v, mask.double()[None, None], None)


def chunk_floor(golden, q, cache, table, *, width, start):
    k, v, mask = chunk_operands(q, cache, table, width, start)
    return op_floors.attention(q, k, v, causal=False, mask=mask[None, None])


CHUNK = Op(
    "chunked_flash_mla_prefill",
    call=lambda q, cache, table, *, width, start: T.chunked_flash_mla_prefill(
        q, cache, width, table, start, program_config=CONFIG
    ),
    golden=chunk_golden,
    floor=chunk_floor,
    samples=(chunk((1, 2, 32, 96), 64, 32, 8), chunk((1, 4, 64, 64), 32, 0, 8)),
    references=(chunk((1, 8, 64, 576), 512, 64, 8),),
    errors=(
        Refused(
            "start",
            lambda device: T.chunked_flash_mla_prefill(
                on(device, plain(1, 2, 32, 96)),
                on(device, plain(8, 1, 32, 96)),
                64,
                on(device, table_of(1, 8), ttnn.int32, ROWS),
                7,
                program_config=CONFIG,
            ),
            "chunk_start_idx",
        ),
    ),
)

# --- one token of every user ---------------------------------------------------------------------


def token(heads, length, columns, width, positions, pages=None):
    users = len(positions)
    shape = (1, users, heads, columns)
    cache = (users, 1, length, columns) if pages is None else (users * pages, 1, BLOCK, columns)

    def make():
        operands = [
            Operand(plain(*shape)),
            Operand(plain(*cache)),
            Operand(torch.tensor(positions, dtype=torch.int32), ttnn.int32, ROWS),
        ]
        if pages is not None:
            operands.append(Operand(table_of(users, pages), ttnn.int32, ROWS))
        return tuple(operands)

    note = "at-" + "-".join(map(str, positions[:4]))
    return Sample(shape, make, note=note, kwargs={"width": width})


def token_operands(q, cache, positions, width, table):
    k = cache if table is None else sequences(cache, table)
    mask = positions_mask(positions.tolist(), k.shape[2])
    return q.transpose(0, 1).transpose(1, 2), k, values_of(k, width), mask


def token_golden(q, cache, positions, table=None, *, width):
    return eager(*token_operands(q, cache, positions, width, table), None)[:, :, 0][None]


def token_floor(golden, q, cache, positions, table=None, *, width):
    query, k, v, mask = token_operands(q, cache, positions, width, table)
    return op_floors.attention(query, k, v, causal=False, mask=mask)


DECODE = Op(
    "flash_multi_latent_attention_decode",
    call=lambda q, k, positions, *, width: T.flash_multi_latent_attention_decode(
        q, k, head_dim_v=width, cur_pos_tensor=positions, program_config=CONFIG
    ),
    golden=token_golden,
    floor=token_floor,
    samples=(token(4, 96, 96, 64, [0, 95]), token(32, 64, 64, 32, [40])),
    references=(token(16, 256, 576, 512, [100, 255]),),
    errors=(
        Refused(
            "layout",
            lambda device: T.flash_multi_latent_attention_decode(
                on(device, plain(1, 2, 32, 64)),
                on(device, plain(2, 1, 64, 64), layout=ROWS),
                head_dim_v=32,
                cur_pos=[1, 2],
            ),
            "tilized",
        ),
    ),
)

PAGED_DECODE = Op(
    "paged_flash_multi_latent_attention_decode",
    call=lambda q, k, positions, table, *, width: T.paged_flash_multi_latent_attention_decode(
        q,
        k,
        head_dim_v=width,
        page_table_tensor=table,
        cur_pos_tensor=positions,
        program_config=CONFIG,
    ),
    golden=token_golden,
    floor=token_floor,
    samples=(token(4, 96, 96, 64, [0, 95], pages=3), token(16, 64, 64, 32, [40], pages=2)),
    references=(token(16, 256, 576, 512, [100, 255], pages=8),),
    errors=(
        Refused(
            "layout",
            lambda device: T.paged_flash_multi_latent_attention_decode(
                on(device, plain(1, 2, 32, 64)),
                on(device, plain(4, 1, 32, 64), layout=ROWS),
                head_dim_v=32,
                page_table_tensor=on(device, table_of(2, 2), ttnn.int32, ROWS),
                cur_pos_tensor=on(device, torch.tensor([1, 2]), ttnn.int32, ROWS),
            ),
            "tilized",
        ),
    ),
)

# --- two sequences -------------------------------------------------------------------------------


def joint(shape, length):
    """q, k and v [B, N, S, D] of `shape`, and three more of `length` rows."""
    batch, heads, _, width = shape
    other = (batch, heads, length, width)

    def make():
        return tuple(Operand(plain(*one)) for one in (shape, shape, shape, other, other, other))

    return Sample(shape, make, note=f"and-{length}")


def joint_call(*operands):
    return T.joint_scaled_dot_product_attention(
        *operands, joint_strategy="rear", program_config=CONFIG
    )


def joint_golden(q, k, v, *others):
    query, key, value = (torch.cat(pair, 2) for pair in zip((q, k, v), others, strict=True))
    return eager(query, key, value, None, None).split((q.shape[2], others[0].shape[2]), 2)


def joint_floor(golden, q, k, v, *others):
    query, key, value = (torch.cat(pair, 2) for pair in zip((q, k, v), others, strict=True))
    return op_floors.attention(query, key, value, causal=False)


JOINT = Op(
    "joint_scaled_dot_product_attention",
    call=joint_call,
    golden=joint_golden,
    floor=joint_floor,
    samples=(joint((1, 2, 64, 64), 32), joint((1, 2, 37, 64), 13)),
    references=(joint((1, 4, 128, 64), 77),),
    errors=(
        Refused(
            "strategy",
            lambda device: T.joint_scaled_dot_product_attention(
                *(on(device, plain(1, 2, 32, 64)) for _ in range(6)),
                joint_strategy="front",
                program_config=CONFIG,
            ),
            "rear",
        ),
    ),
)

OPS = [PREFILL, CHUNK, DECODE, PAGED_DECODE, JOINT]
