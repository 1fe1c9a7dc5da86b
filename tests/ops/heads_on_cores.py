"""Splitting a projection into heads where each core splits its own block, and heads of models.

B batch, S sequence, N heads, K kv heads, D head_dim.
"""

import torch
import ttnn

from .heads import BFP8, HEIGHTS, golden_of_groups, grouped, sample
from .operands import on
from .opinfo import Op, Operand, Refused, Sample, massive, plain

IN_ROWS = ttnn.ROW_MAJOR_LAYOUT
X = ttnn.experimental


CREATE_BLOCKS = Op(
    "create_qkv_heads",
    call=lambda x, **how: X.create_qkv_heads(x, **how),
    golden=golden_of_groups,
    samples=(
        grouped(2, 32, 8, 8, 64, "block", transpose_k_heads=True, memory_config=HEIGHTS),
        grouped(2, 32, 16, 8, 64, "block", transpose_k_heads=False, memory_config=HEIGHTS),
    ),
    references=(
        grouped(8, 32, 16, 8, 64, "block", transpose_k_heads=False, memory_config=HEIGHTS),
    ),
    errors=(
        Refused(
            "heads",
            lambda device: X.create_qkv_heads(
                on(device, plain(2, 1, 32, 1536), memory="block"),
                num_heads=9,
                num_kv_heads=8,
                memory_config=HEIGHTS,
            ),
            "must be a multiple of the combine",
        ),
    ),
)


LONG = 384  # fewer rows than 256 to a core are none for the host's check


def apart(batch, heads, kv_heads, width, transpose):
    """Queries [B, 1, S, N D], and of each key head its key and value [B, 1, S, K 2 D]."""

    def make():
        shapes = (batch, 1, LONG, heads * width), (batch, 1, LONG, 2 * kv_heads * width)
        return tuple(Operand(plain(*shape)) for shape in shapes)

    how = {"num_heads": heads, "num_kv_heads": kv_heads, "transpose_k_heads": transpose}
    note = f"{heads}-heads-{kv_heads}-kv"
    return Sample((batch, 1, LONG, heads * width), make, note=note, kwargs=how)


def apart_call(x, kv, **how):
    """A row of eight cores splits each element of the batch."""
    in_blocks = (
        ttnn.to_memory_config(
            one,
            ttnn.create_sharded_memory_config(
                tuple(one.shape), ttnn.CoreGrid(x=8, y=one.shape[0]), ttnn.ShardStrategy.BLOCK
            ),
        )
        for one in (x, kv)
    )
    return X.create_qkv_heads_from_separate_tensors(*in_blocks, memory_config=HEIGHTS, **how)


def apart_golden(x, kv, *, num_heads, num_kv_heads, transpose_k_heads):
    query = x[:, 0].unflatten(-1, (num_heads, -1)).transpose(1, 2)
    key, value = kv[:, 0].unflatten(-1, (num_kv_heads, 2, -1)).permute(3, 0, 2, 1, 4)
    return query, key.mT if transpose_k_heads else key, value


APART = Op(
    "create_qkv_heads_from_separate_tensors",
    call=apart_call,
    golden=apart_golden,
    samples=(apart(1, 8, 8, 32, False), apart(2, 16, 8, 32, True)),
    references=(apart(2, 8, 8, 64, False),),
    errors=(
        Refused(
            "interleaved",
            lambda device: X.create_qkv_heads_from_separate_tensors(
                on(device, plain(2, 1, 32, 512)), on(device, plain(2, 1, 32, 1024)), num_heads=8
            ),
            "",
        ),
    ),
)

# --- of models -----------------------------------------------------------------------------------


def in_sections(x, *counts):
    heads = x[:, 0].unflatten(-1, (sum(counts), -1)).transpose(1, 2)
    return heads.split(counts, 1)


def of_a_model(name, columns, counts):
    operation = getattr(X, name)
    return Op(
        name.removesuffix("7b"),
        operation=name,
        call=lambda x: operation(x),
        golden=lambda x: in_sections(x, *counts),
        samples=(sample((1, 1, 32, columns)), sample((2, 1, 64, columns), BFP8)),
        references=(sample((1, 1, 128, columns), values=massive),),
        errors=(
            Refused("width", lambda device: operation(on(device, plain(1, 1, 32, 64))), "shape"),
        ),
    )


FALCON = of_a_model("nlp_create_qkv_heads_falcon7b", 4672, (71, 1, 1))
VIT = of_a_model("nlp_create_qkv_heads_vit", 2304, (12, 12, 12))

Q_SPLIT = Op(
    "nlp_create_q_heads_split",
    call=lambda x, **how: X.nlp_create_q_heads_split(x, **how),
    golden=lambda x, *, num_heads, split_head_dim: [
        part.transpose(1, 2)
        for part in x[:, 0].unflatten(-1, (num_heads, -1)).tensor_split((split_head_dim,), -1)
    ],
    samples=(
        sample((1, 1, 37, 4 * 96), num_heads=4, split_head_dim=64),
        sample((2, 1, 64, 2 * 64), num_heads=2, split_head_dim=32),
    ),
    references=(sample((1, 1, 128, 16 * 192), num_heads=16, split_head_dim=128),),
    errors=(
        Refused(
            "rows",
            lambda device: X.nlp_create_q_heads_split(
                on(device, plain(1, 1, 32, 256), layout=IN_ROWS), num_heads=4, split_head_dim=32
            ),
            "must be TILE",
        ),
    ),
)

LOAD_SLICE = Op(
    "nlp_kv_cache_load_slice",
    call=lambda x, **rows: X.nlp_kv_cache_load_slice(x, **rows),
    golden=lambda x, *, seq_len_start, seq_len_end: x[:, :, seq_len_start:seq_len_end],
    samples=(
        sample((1, 4, 128, 64), seq_len_start=32, seq_len_end=96),
        sample((2, 2, 64, 32), seq_len_start=0, seq_len_end=64),
    ),
    references=(sample((1, 32, 256, 96), seq_len_start=0, seq_len_end=128),),
    errors=(
        Refused(
            "rows",
            lambda device: X.nlp_kv_cache_load_slice(
                on(device, plain(1, 4, 128, 64)), seq_len_start=5, seq_len_end=96
            ),
            "must be tile",
        ),
    ),
)

PAIRS_SPLIT = Op(
    "nlp_create_qkv_heads_boltz",
    call=lambda x, **how: X.nlp_create_qkv_heads_boltz(x, **how),
    golden=lambda x, *, num_heads, transpose_k_heads: [
        torch.stack(part[0].chunk(num_heads, -1)) for part in x.chunk(3, -1)
    ],
    samples=(sample((1, 32, 32, 3 * 2 * 32), num_heads=2, transpose_k_heads=False),),
    references=(sample((1, 64, 64, 3 * 4 * 32), num_heads=4, transpose_k_heads=False),),
    errors=(
        Refused(
            "rows",
            lambda device: X.nlp_create_qkv_heads_boltz(
                on(device, plain(1, 32, 32, 192), layout=IN_ROWS), num_heads=2
            ),
            "Layout::TILE",
        ),
    ),
)

PAIRS_JOINED = Op(
    "nlp_concat_heads_boltz",
    call=lambda x: X.nlp_concat_heads_boltz(x),
    golden=lambda x: x.movedim(0, 2).flatten(2)[None],
    samples=(sample((2, 32, 32, 32)), sample((4, 64, 64, 64), BFP8)),
    references=(sample((4, 64, 64, 32), values=massive),),
    errors=(
        Refused(
            "rows",
            lambda device: X.nlp_concat_heads_boltz(
                on(device, plain(2, 32, 32, 32), layout=IN_ROWS)
            ),
            "Layout::TILE",
        ),
    ),
)

OPS = [
    CREATE_BLOCKS,
    APART,
    FALCON,
    VIT,
    Q_SPLIT,
    LOAD_SLICE,
    PAIRS_SPLIT,
    PAIRS_JOINED,
]
