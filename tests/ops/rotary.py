"""Rotary position embeddings of halves of a head, for prompts and tokens.

B batch, S sequence, N heads, D head_dim, C positions of the tables.
"""

import torch
import ttnn
from transformers.models.phi3.modeling_phi3 import apply_rotary_pos_emb

from tests.support.tensors import rotary_tables
from ttnn_verify.numerics import op_floors

from .operands import on
from .opinfo import PLAIN, Op, Operand, Refused, Sample, extreme, massive, plain

LENGTH = 256  # C


def halves(width):
    """cos and sin float32 [1, 1, C, D] for columns i and i + D / 2, as Hugging Face has them."""
    return rotary_tables(LENGTH, width)


def unpaired(x):
    return torch.cat((x[..., 0::2], x[..., 1::2]), -1)


def rotated(x, cos, sin):
    """Hugging Face's rotation of x [B, N, S, D] by rows cos and sin [1, 1, S, D]."""
    return apply_rotary_pos_emb(x, x, cos[:, 0], sin[:, 0])[0]


def rows_up(golden, rows):
    """Zero rows up to `rows`: the kernels give whole tiles as their logical shape."""
    return torch.nn.functional.pad(golden, (0, 0, 0, rows - golden.shape[-2]))


def whole_tiles(rows):
    return -(-rows // 32) * 32


def marked(shape, values, operands, note="", memory="dram", **kwargs):
    note = "-".join(filter(None, (PLAIN[values], note)))
    return Sample(shape, operands, memory=memory, note=note, kwargs=kwargs)


# --- halves, prompt ------------------------------------------------------------------------------


def prompt(shape, values=plain, memory="dram"):
    def make():
        tables = halves(shape[-1])
        return (Operand(values(*shape), memory=memory), *map(Operand, tables))

    return marked(shape, values, make, memory=memory)


def prompt_golden(x, cos, sin):
    rows = x.shape[-2]
    return rotated(x, cos[:, :, :rows], sin[:, :, :rows])


def prompt_floor(golden, x, cos, sin):
    rows = x.shape[-2]
    return op_floors.rotary(x, cos[:, :, :rows], sin[:, :, :rows])


def mild(*shape):
    """Rows of a magnitude each, all of which bfloat16 squares without overflow."""
    return extreme(*shape, low=-60, high=60)


PLAIN[mild] = "extreme"


def rotary_errors(call):
    def tables(device, width):
        return [on(device, table) for table in halves(width)]

    return (
        Refused(
            "tables",
            lambda device: call(on(device, plain(1, 4, 32, 64)), *tables(device, 128)),
            "Cos",
        ),
        Refused(
            "host",
            lambda device: call(
                ttnn.from_torch(plain(1, 4, 32, 64), layout=ttnn.TILE_LAYOUT), *tables(device, 64)
            ),
            "device",
        ),
    )


ROTARY = Op(
    "rotary_embedding",
    call=lambda x, cos, sin: ttnn.experimental.rotary_embedding(x, cos, sin),
    golden=lambda x, cos, sin: rows_up(prompt_golden(x, cos, sin), whole_tiles(x.shape[-2])),
    floor=prompt_floor,
    samples=(
        prompt((1, 1, 32, 32)),
        prompt((1, 4, 37, 64)),
        prompt((2, 2, 33, 128)),
        prompt((1, 4, 64, 64), memory="l1"),
        prompt((1, 2, 256, 64)),
    ),
    references=(
        prompt((1, 32, 128, 128)),  # heads of 96 spread to 128, as the kernel refuses 96
        prompt((1, 32, 128, 128), massive),
        prompt((1, 2, 128, 64), mild),
    ),
    errors=(
        *rotary_errors(lambda x, cos, sin: ttnn.experimental.rotary_embedding(x, cos, sin)),
        Refused(
            "width-96",
            lambda device: ttnn.experimental.rotary_embedding(
                on(device, plain(1, 4, 32, 96)), *(on(device, t) for t in halves(96))
            ),
            "divisible by 64",
        ),
    ),
)

# --- halves, one position ------------------------------------------------------------------------


def token(shape, index, values=plain):
    def make():
        return (Operand(values(*shape)), *map(Operand, halves(shape[-1])))

    return marked(shape, values, make, f"at-{index}", index=index)


def at(tables, index):
    return [table[:, :, index : index + 1] for table in tables]


ROTARY_TOKEN = Op(
    "rotary_embedding_token",
    operation="rotary_embedding",
    call=lambda x, cos, sin, *, index: ttnn.experimental.rotary_embedding(x, cos, sin, index),
    golden=lambda x, cos, sin, *, index: rows_up(
        rotated(x, *at((cos, sin), index)), whole_tiles(x.shape[-2])
    ),
    floor=lambda golden, x, cos, sin, *, index: op_floors.rotary(x, *at((cos, sin), index)),
    samples=(
        token((1, 1, 32, 64), 0),
        token((1, 1, 5, 64), 31),
        token((1, 1, 5, 64), 32),
        token((1, 1, 8, 128), LENGTH - 1),
    ),
    references=(token((1, 1, 32, 128), 100), token((1, 1, 32, 128), 77, massive)),
    errors=rotary_errors(lambda x, cos, sin: ttnn.experimental.rotary_embedding(x, cos, sin, 3)),
)

# --- decode: each user at its own position -------------------------------------------------------

POSITIONS = [0, 255, 17, 31, 32, 33, 100, 128]


def users_rows(width, users):
    """cos and sin [1, B, 1, D] of `POSITIONS`, over and over."""
    positions = [POSITIONS[user % len(POSITIONS)] for user in range(users)]
    return [table[0, 0, positions][None, :, None] for table in halves(width)]


def users_rotated(x, cos, sin):
    """x [1, B, N, D] by cos and sin [1, B, 1, D]: Hugging Face's, the users in the place of S."""
    turned = rotated(*(t.transpose(1, 2) for t in (x, cos, sin)))
    return turned.transpose(1, 2)


# --- halves by rotary_embedding_hf ---------------------------------------------------------------


def halves_users(shape, values=plain):
    def make():
        operands = (values(*shape), *users_rows(shape[-1], shape[1]))
        return tuple(Operand(operand, memory="height") for operand in operands)

    return marked(shape, values, make, memory="height")


HF = Op(
    "rotary_embedding_hf",
    call=lambda x, cos, sin: ttnn.experimental.rotary_embedding_hf(x, cos, sin),
    golden=prompt_golden,
    floor=prompt_floor,
    samples=(prompt((1, 4, 37, 64)), prompt((1, 1, 64, 32)), prompt((1, 2, 33, 128))),
    references=(prompt((1, 32, 128, 128)), prompt((1, 32, 128, 128), massive)),
    errors=rotary_errors(lambda *operands: ttnn.experimental.rotary_embedding_hf(*operands)),
)

HF_DECODE = Op(
    "rotary_embedding_hf_decode",
    operation="rotary_embedding_hf",
    call=lambda x, cos, sin: ttnn.experimental.rotary_embedding_hf(
        x, cos, sin, is_decode_mode=True
    ),
    golden=users_rotated,
    floor=lambda golden, x, cos, sin: op_floors.rotary(x, cos, sin),
    samples=(halves_users((1, 1, 4, 64)), halves_users((1, 3, 8, 128))),
    references=(halves_users((1, 32, 32, 128)), halves_users((1, 8, 32, 64), massive)),
    errors=(
        Refused(
            "dram",
            lambda device: ttnn.experimental.rotary_embedding_hf(
                *(on(device, t) for t in (plain(1, 2, 4, 64), *users_rows(64, 2))),
                is_decode_mode=True,
            ),
            "must be sharded",
        ),
    ),
)

OPS = [ROTARY, ROTARY_TOKEN, HF, HF_DECODE]
