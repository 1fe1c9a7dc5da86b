"""Rotary position embeddings of pairs of columns, for prompts and tokens.

B batch, S sequence, N heads, D head_dim, C positions of the tables.
"""

import torch
import ttnn

from tests.support.tensors import pair_matrix, pairs_together
from ttnn_verify.numerics import op_floors

from .operands import on
from .opinfo import Op, Operand, Refused, massive, plain
from .rotary import (
    halves,
    marked,
    mild,
    prompt_floor,
    rotated,
    unpaired,
    users_rotated,
    users_rows,
)

# --- pairs, prompt -------------------------------------------------------------------------------


def pairs_prompt(shape, values=plain, memory="dram"):
    def make():
        tables = [pairs_together(table) for table in halves(shape[-1])]
        operands = (pairs_together(values(*shape)), *tables, pair_matrix())
        return tuple(Operand(operand, memory=memory) for operand in operands)

    return marked(shape, values, make, memory=memory)


def pairs_golden(x, cos, sin, matrix):
    rows = x.shape[-2]
    return pairs_together(rotated(*(unpaired(t) for t in (x, cos[:, :, :rows], sin[:, :, :rows]))))


def pairs_floor(golden, x, cos, sin, matrix):
    return prompt_floor(golden, *(unpaired(t) for t in (x, cos, sin)))


def llama(x, cos, sin, matrix=None, **kwargs):
    return ttnn.experimental.rotary_embedding_llama(x, cos, sin, matrix, **kwargs)


def llama_of(device):
    matrix = on(device, pair_matrix())
    return lambda x, cos, sin: llama(x, cos, sin, matrix)


LLAMA = Op(
    "rotary_embedding_llama",
    call=llama,
    golden=pairs_golden,
    floor=pairs_floor,
    samples=(
        pairs_prompt((1, 1, 32, 32)),
        pairs_prompt((1, 4, 37, 64)),
        pairs_prompt((1, 2, 33, 128)),
        pairs_prompt((1, 4, 37, 96)),
        pairs_prompt((1, 2, 256, 96)),
    ),
    references=(
        pairs_prompt((1, 32, 128, 96)),
        pairs_prompt((1, 32, 128, 96), massive),
        pairs_prompt((1, 2, 128, 96), mild),
    ),
    errors=(
        Refused(
            "matrix",
            lambda device: llama(
                *(on(device, t) for t in (plain(1, 4, 32, 64), *halves(64), plain(1, 1, 64, 64)))
            ),
            "Transformation matrix",
        ),
        Refused(
            "tables",
            lambda device: llama(
                *(on(device, t) for t in (plain(1, 4, 32, 64), *halves(96), pair_matrix()))
            ),
            "Cos dims must match",
        ),
        Refused(
            "float32",
            lambda device: llama(
                on(device, plain(1, 4, 32, 64), ttnn.float32),
                *(on(device, t) for t in (*halves(64), pair_matrix())),
            ),
            "must have dtype = bfloat16",
        ),
    ),
)

# --- decode: each user at its own position -------------------------------------------------------


def pairs_users(shape, values=plain):
    """x [1, B, N, D]; all operands height sharded, a core for each user."""

    def make():
        users, width = shape[1], shape[-1]
        tables = [pairs_together(table) for table in users_rows(width, users)]
        operands = (pairs_together(values(*shape)), *tables, pair_matrix(users))
        return tuple(Operand(operand, memory="height") for operand in operands)

    return marked(shape, values, make, memory="height")


LLAMA_DECODE = Op(
    "rotary_embedding_llama_decode",
    operation="rotary_embedding_llama",
    call=lambda *operands: llama(*operands, is_decode_mode=True),
    golden=lambda x, cos, sin, matrix: pairs_together(
        users_rotated(*(unpaired(t) for t in (x, cos, sin)))
    ),
    floor=lambda golden, x, cos, sin, matrix: op_floors.rotary(
        *(unpaired(t) for t in (x, cos, sin))
    ),
    samples=(
        pairs_users((1, 1, 4, 64)),
        pairs_users((1, 3, 4, 96)),
        pairs_users((1, 8, 8, 128)),
    ),
    references=(pairs_users((1, 32, 32, 96)), pairs_users((1, 8, 32, 96), massive)),
    errors=(
        Refused(
            "dram",
            lambda device: llama(
                *(on(device, t) for t in (plain(1, 2, 4, 64), *users_rows(64, 2), pair_matrix(2))),
                is_decode_mode=True,
            ),
            "HEIGHT_SHARDED",
        ),
        Refused(
            "users",
            lambda device: llama(
                *(
                    on(device, t, memory="height")
                    for t in (plain(1, 3, 4, 64), *users_rows(64, 2), pair_matrix(3))
                ),
                is_decode_mode=True,
            ),
            "same batch size",
        ),
    ),
)

# --- decode: queries and keys by one call --------------------------------------------------------


def pairs_fused(users, heads, kv_heads, width, values=plain):
    """q [1, B, N, D] on the first B cores, k [1, B, K, D] on others; rows for q, then for k."""
    shape = (1, users, heads, width)

    def make():
        q, k = values(*shape), values(1, users, kv_heads, width)
        tables = [pairs_together(torch.cat((t, t), 1)) for t in users_rows(width, users)]
        return (
            Operand(pairs_together(q), memory="height"),
            Operand(pairs_together(k), memory="lower"),
            *(Operand(table, memory="both") for table in tables),
            Operand(pair_matrix(2 * users), memory="both"),
        )

    note = "" if kv_heads == heads else f"{kv_heads}-kv"
    return marked(shape, values, make, note, memory="height")


def fused_floor(golden, q, k, cos, sin, matrix):
    """Of queries or of keys, whichever it is asked for."""
    x, half = (q, slice(0, q.shape[1])) if golden.shape == q.shape else (k, slice(q.shape[1], None))
    return op_floors.rotary(*(unpaired(t) for t in (x, cos[:, half], sin[:, half])))


def fused_golden(q, k, cos, sin, matrix):
    users = q.shape[1]
    return [
        pairs_together(users_rotated(*(unpaired(t) for t in (x, cos[:, half], sin[:, half]))))
        for x, half in ((q, slice(0, users)), (k, slice(users, None)))
    ]


def fused(*operands):
    return ttnn.experimental.rotary_embedding_llama_fused_qk(*operands)


LLAMA_FUSED = Op(
    "rotary_embedding_llama_fused_qk",
    call=fused,
    golden=fused_golden,
    floor=fused_floor,
    samples=(
        pairs_fused(1, 4, 4, 64),
        pairs_fused(3, 4, 2, 96),
        pairs_fused(8, 8, 8, 128),
    ),
    references=(pairs_fused(16, 32, 8, 96), pairs_fused(8, 32, 32, 96, massive)),
    errors=(
        Refused(
            "dram",
            lambda device: fused(
                *(
                    on(device, t)
                    for t in (
                        plain(1, 2, 4, 64),
                        plain(1, 2, 4, 64),
                        *users_rows(64, 4),
                        pair_matrix(4),
                    )
                )
            ),
            "HEIGHT_SHARDED",
        ),
        Refused(
            "same-cores",
            lambda device: fused(
                *(
                    on(device, t, memory="height")
                    for t in (
                        plain(1, 2, 4, 64),
                        plain(1, 2, 4, 64),
                        *users_rows(64, 4),
                        pair_matrix(4),
                    )
                )
            ),
            "overlap",
        ),
    ),
)

OPS = [LLAMA, LLAMA_DECODE, LLAMA_FUSED]
