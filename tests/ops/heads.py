"""Splitting a fused projection into heads and joining heads again: movement, exact.

B batch, S sequence, N heads, K kv heads, D head_dim.
"""

import ttnn

from .operands import on
from .opinfo import PLAIN, Op, Operand, Refused, Sample, extreme, massive, plain

BF16, FP32, BFP8 = ttnn.bfloat16, ttnn.float32, ttnn.bfloat8_b


def sample(shape, dtype=BF16, memory="dram", values=plain, note="", **kwargs):
    return Sample(
        shape,
        lambda: (Operand(values(*shape), dtype, memory=memory),),
        dtype,
        memory,
        "-".join(filter(None, (PLAIN[values], note))),
        kwargs,
    )


def split(fused, heads, kv_heads):
    """[..., (N + 2 K) D] -> [..., N, D], [..., K, D], [..., K, D]: a view in torch."""
    by_head = fused.unflatten(-1, (heads + 2 * kv_heads, -1))
    return by_head.split([heads, kv_heads, kv_heads], dim=-2)


# --- prompt --------------------------------------------------------------------------------------


def fused(batch, sequence, heads, kv_heads, width, transpose=False, **how):
    note = f"{heads}-heads-{kv_heads}-kv" + ("-transpose-k" if transpose else "")
    return sample(
        (batch, 1, sequence, (heads + 2 * kv_heads) * width),
        note=note,
        num_heads=heads,
        num_kv_heads=kv_heads,
        transpose_k_heads=transpose,
        **how,
    )


def create_golden(x, *, num_heads, num_kv_heads, transpose_k_heads):
    q, k, v = (part[:, 0].transpose(1, 2) for part in split(x, num_heads, num_kv_heads))
    return q, k.mT if transpose_k_heads else k, v


CREATE = Op(
    "nlp_create_qkv_heads",
    call=lambda x, **counts: ttnn.experimental.nlp_create_qkv_heads(x, **counts),
    golden=create_golden,
    samples=(
        fused(1, 32, 4, 4, 96),
        fused(1, 37, 8, 2, 64),
        fused(2, 64, 3, 1, 32),
        fused(1, 33, 4, 2, 64, transpose=True),
        fused(1, 1, 4, 4, 96),
        fused(1, 37, 4, 2, 64, dtype=FP32),
        fused(1, 64, 4, 2, 64, dtype=BFP8),
        fused(1, 64, 4, 2, 64, memory="l1"),
    ),
    references=(
        fused(1, 128, 32, 32, 96),
        fused(1, 128, 32, 32, 96, values=massive),
        fused(1, 155, 32, 8, 96, values=extreme),
    ),
    errors=(
        Refused(
            "heads",
            lambda device: ttnn.experimental.nlp_create_qkv_heads(
                on(device, plain(1, 1, 32, 576)), num_heads=5, num_kv_heads=5
            ),
            "Unsupported input shape",
        ),
        Refused(
            "rank",
            lambda device: ttnn.experimental.nlp_create_qkv_heads(
                on(device, plain(1, 3, 32, 576)), num_heads=2, num_kv_heads=2
            ),
            "is not equal to 1",
        ),
        Refused(
            "layout",
            lambda device: ttnn.experimental.nlp_create_qkv_heads(
                on(device, plain(1, 1, 32, 576), layout=ttnn.ROW_MAJOR_LAYOUT), num_heads=2
            ),
            "must be TILE",
        ),
    ),
)


def by_group(x, heads, kv_heads):
    """Columns [K, N / K + 2, D]: query heads [B, N, S, D], keys and values [B, K, S, D]."""
    each = heads // kv_heads
    groups = x[:, 0].unflatten(-1, (kv_heads, each + 2, -1)).movedim(1, 3)  # [B, K, heads, S, D]
    return groups[:, :, :each].flatten(1, 2), groups[:, :, each], groups[:, :, each + 1]


def grouped(batch, rows, heads, kv_heads, width, memory, **how):
    """One kv head with its query heads on each core of a row of cores, or of all of them."""
    columns = (heads + 2 * kv_heads) * width
    counts = {"num_heads": heads, "num_kv_heads": kv_heads}
    note = f"{heads}-heads-{kv_heads}-kv"
    return sample((batch, 1, rows, columns), memory=memory, note=note, **counts, **how)


def golden_of_groups(x, *, num_heads, num_kv_heads, transpose_k_heads, memory_config=None):
    q, k, v = by_group(x, num_heads, num_kv_heads)
    return q, k.mT if transpose_k_heads else k, v


HEIGHTS = ttnn.L1_HEIGHT_SHARDED_MEMORY_CONFIG


def heads(shape, **how):
    return sample(shape, **how)


CONCAT = Op(
    "nlp_concat_heads",
    call=lambda x: ttnn.experimental.nlp_concat_heads(x),
    golden=lambda x: x.transpose(1, 2).flatten(2)[:, None],
    samples=(
        heads((1, 4, 32, 96)),
        heads((2, 3, 37, 64)),
        heads((1, 1, 1, 32)),
        heads((1, 4, 37, 64), dtype=FP32),
        heads((1, 4, 64, 64), dtype=BFP8),
        heads((1, 4, 64, 64), memory="l1"),
    ),
    references=(
        heads((1, 32, 128, 96)),
        heads((1, 32, 128, 96), values=massive),
        heads((1, 32, 128, 96), values=extreme),
    ),
    errors=(
        Refused(
            "layout",
            lambda device: ttnn.experimental.nlp_concat_heads(
                on(device, plain(1, 4, 32, 64), layout=ttnn.ROW_MAJOR_LAYOUT)
            ),
            "must be TILE",
        ),
        Refused(
            "host",
            lambda device: ttnn.experimental.nlp_concat_heads(
                ttnn.from_torch(plain(1, 4, 32, 64), layout=ttnn.TILE_LAYOUT)
            ),
            "expect device tensors",
        ),
    ),
)

# --- one token of every user ---------------------------------------------------------------------


def fused_users(users, heads, kv_heads, width, **how):
    return sample(
        (1, 1, users, (heads + 2 * kv_heads) * width),
        note=f"{heads}-heads-{kv_heads}-kv",
        num_heads=heads,
        num_kv_heads=kv_heads,
        **how,
    )


def create_decode_call(x, *, num_heads, num_kv_heads):
    return ttnn.experimental.nlp_create_qkv_heads_decode(
        x,
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        memory_config=ttnn.L1_HEIGHT_SHARDED_MEMORY_CONFIG,
    )


CREATE_DECODE = Op(
    "nlp_create_qkv_heads_decode",
    call=create_decode_call,
    golden=lambda x, *, num_heads, num_kv_heads: [
        part[:, 0] for part in split(x, num_heads, num_kv_heads)
    ],
    samples=(
        fused_users(1, 4, 4, 96),
        fused_users(4, 8, 2, 64),
        fused_users(32, 4, 1, 64),
        fused_users(8, 8, 8, 32, memory="l1"),
    ),
    references=(
        fused_users(1, 32, 32, 96),
        fused_users(32, 32, 32, 96, values=massive),
        fused_users(32, 32, 8, 96, values=extreme),
    ),
    errors=(
        Refused(
            "users",
            lambda device: create_decode_call(
                on(device, plain(1, 1, 33, 576)), num_heads=2, num_kv_heads=2
            ),
            "Unsupported input shape",
        ),
        Refused(
            "heads",
            lambda device: create_decode_call(
                on(device, plain(1, 1, 4, 9 * 64)), num_heads=2, num_kv_heads=4
            ),
            "must be divisible by",
        ),
        Refused(
            "rank",
            lambda device: create_decode_call(
                on(device, plain(1, 2, 4, 576)), num_heads=2, num_kv_heads=2
            ),
            "Unsupported input shape",
        ),
    ),
)


def concat_decode_call(x, *, num_heads):
    """The result has 32 rows, of which the kernel writes the users' alone; the others go."""
    users = x.shape[1]
    joined = ttnn.experimental.nlp_concat_heads_decode(x, num_heads=num_heads)
    joined = ttnn.to_memory_config(joined, ttnn.DRAM_MEMORY_CONFIG)
    return ttnn.slice(joined, [0, 0, 0, 0], [1, 1, users, joined.shape[-1]])


def users_heads(shape, **how):
    return sample(shape, memory="height", num_heads=shape[2], **how)


CONCAT_DECODE = Op(
    "nlp_concat_heads_decode",
    call=concat_decode_call,
    golden=lambda x, *, num_heads: x.flatten(2)[:, None],
    samples=(
        users_heads((1, 1, 4, 96)),
        users_heads((1, 4, 8, 64)),
        users_heads((1, 32, 5, 64)),
    ),
    references=(
        users_heads((1, 32, 32, 96)),
        users_heads((1, 32, 32, 96), values=massive),
        users_heads((1, 8, 32, 96), values=extreme),
    ),
    errors=(
        Refused(
            "dram",
            lambda device: ttnn.experimental.nlp_concat_heads_decode(
                on(device, plain(1, 4, 8, 64)), num_heads=8
            ),
            "must be sharded",
        ),
        Refused(
            "dtype",
            lambda device: ttnn.experimental.nlp_concat_heads_decode(
                on(device, plain(1, 4, 32, 64), BFP8, memory="height"), num_heads=40
            ),
            "Unsupported data format",
        ),
    ),
)

OPS = [CREATE, CONCAT, CREATE_DECODE, CONCAT_DECODE]
