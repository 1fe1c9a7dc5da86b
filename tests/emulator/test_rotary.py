"""Rotary position embeddings against Hugging Face."""

import pytest
import torch
import ttnn
from transformers.models.phi3.modeling_phi3 import apply_rotary_pos_emb

from tests.support.edges import Edge, refuses_what_is_beyond
from tests.support.packing import NO_SUCH_OUTPUT, PACKER, assert_is, named, packed
from tests.support.tensors import (
    bf16_normal,
    on_cores,
    on_tiles,
    pair_matrix,
    pairs_together,
    rotary_tables,
)
from ttnn_emulator.dispatch import NotEmulated
from ttnn_emulator.ops.rotary import BINDINGS
from ttnn_verify.numerics.metrics import relative_l2
from ttnn_verify.numerics.tolerance import bf16_relative_l2

# cos and sin are given in bf16, so rounded arithmetic rounds its result and nothing else.
ROUNDED_ONCE = bf16_relative_l2(1)


def tables(length, width, pairs=False):
    """cos and sin [1, 1, C, D], as bf16 holds them, of halves or of pairs that lie together."""
    return [table.bfloat16().float() for table in rotary_tables(length, width, pairs)]


def huggingface(x, cos, sin):
    """x [B, N, S, D], cos and sin [B or 1, S, D]."""
    return apply_rotary_pos_emb(x, x, cos, sin)[0]


@pytest.mark.parametrize(
    ("op", "shape"),
    [
        ("rotary_embedding", (1, 4, 37, 64)),
        ("rotary_embedding", (2, 2, 32, 128)),
        ("rotary_embedding", (1, 1, 64, 32)),
        ("rotary_embedding_hf", (1, 4, 37, 64)),
        ("rotary_embedding_hf", (1, 1, 64, 32)),
    ],
)
def test_halves_are_hugging_faces(device, op, shape):
    x, (cos, sin) = bf16_normal(*shape), tables(128, shape[-1])
    out = getattr(ttnn.experimental, op)(*(on_tiles(device, t) for t in (x, cos, sin)))
    sequence = shape[-2]
    expected = huggingface(x, cos[0, :, :sequence], sin[0, :, :sequence])
    assert relative_l2(expected, ttnn.to_torch(out).float()[..., :sequence, :]) <= ROUNDED_ONCE


def test_a_token_index_rotates_all_rows_by_one_position(device):
    x, (cos, sin) = bf16_normal(1, 1, 32, 64), tables(128, 64)
    out = ttnn.experimental.rotary_embedding(*(on_tiles(device, t) for t in (x, cos, sin)), 77)
    expected = huggingface(x, cos[0, :, 77:78], sin[0, :, 77:78])
    assert relative_l2(expected, ttnn.to_torch(out).float()) <= ROUNDED_ONCE


def test_the_result_has_the_padded_sequence_as_its_logical_shape(device):
    x, (cos, sin) = bf16_normal(1, 2, 37, 64), tables(64, 64)
    out = ttnn.experimental.rotary_embedding(*(on_tiles(device, t) for t in (x, cos, sin)))
    assert tuple(out.shape) == (1, 2, 64, 64)
    assert not ttnn.to_torch(out)[:, :, 37:].any(), "the input's padding was zero"


@pytest.mark.parametrize("width", [64, 96, 128])
@pytest.mark.parametrize("sequence", [37, 64])
def test_pairs_are_hugging_faces_with_columns_brought_together(device, sequence, width):
    x, halves = bf16_normal(1, 4, sequence, width), tables(128, width)
    cos, sin = tables(128, width, pairs=True)
    out = ttnn.experimental.rotary_embedding_llama(
        *(on_tiles(device, t) for t in (pairs_together(x), cos, sin, pair_matrix()))
    )
    expected = pairs_together(huggingface(x, *(t[0, :, :sequence] for t in halves)))
    assert relative_l2(expected, ttnn.to_torch(out).float()) <= ROUNDED_ONCE


def test_tiles_beyond_the_tables_become_zero(device):
    x, (cos, sin) = bf16_normal(1, 2, 96, 64), tables(64, 64, pairs=True)
    out = ttnn.experimental.rotary_embedding_llama(
        *(on_tiles(device, t) for t in (x, cos, sin, pair_matrix()))
    )
    assert ttnn.to_torch(out)[:, :, :64].any()
    assert not ttnn.to_torch(out)[:, :, 64:].any()


def of_users(positions, width):
    """cos and sin [1, B, 1, D] of users at several positions, and the same for halves [1, B, D]."""
    pairs = [t[:, 0, positions, None] for t in tables(128, width, pairs=True)]
    return pairs, [t[0, :, positions] for t in tables(128, width)]


@pytest.mark.parametrize("width", [64, 96])
def test_decode_rotates_every_user_by_its_own_position(device, width):
    x = bf16_normal(1, 3, 4, width)
    (cos, sin), halves = of_users([0, 17, 100], width)
    turn = pair_matrix().repeat(1, 1, 3, 1)
    out = ttnn.experimental.rotary_embedding_llama(
        *(on_cores(device, t) for t in (pairs_together(x), cos, sin, turn)), is_decode_mode=True
    )
    expected = huggingface(x.transpose(1, 2), *halves).transpose(1, 2)
    assert relative_l2(pairs_together(expected), ttnn.to_torch(out).float()) <= ROUNDED_ONCE


def test_decode_by_halves_rotates_every_user_by_its_own_position(device):
    x = bf16_normal(1, 3, 4, 64)
    halves = [t[0, :, [0, 17, 100]] for t in tables(128, 64)]
    out = ttnn.experimental.rotary_embedding_hf(
        *(on_cores(device, t) for t in (x, *(h[:, :, None] for h in halves))), is_decode_mode=True
    )
    expected = huggingface(x.transpose(1, 2), *halves).transpose(1, 2)
    assert relative_l2(expected, ttnn.to_torch(out).float()) <= ROUNDED_ONCE


def test_queries_and_keys_rotate_at_once(device):
    queries, keys = bf16_normal(1, 2, 8, 64), bf16_normal(1, 2, 2, 64)
    (cos, sin), _ = of_users([5, 90], 64)
    turn = pair_matrix().repeat(1, 1, 2, 1)
    outputs = ttnn.experimental.rotary_embedding_llama_fused_qk(
        on_cores(device, queries),
        on_cores(device, keys, first_row=1),
        *(on_cores_of_both(device, torch.cat((t, t), 1)) for t in (cos, sin)),
        on_cores_of_both(device, torch.cat((turn, turn), 2)),
    )
    for x, out in zip((queries, keys), outputs, strict=True):
        alone = ttnn.experimental.rotary_embedding_llama(
            *(on_cores(device, t) for t in (x, cos, sin, turn)), is_decode_mode=True
        )
        assert torch.equal(ttnn.to_torch(out), ttnn.to_torch(alone))


def on_cores_of_both(device, values):
    """What the fused op reads: 32 rows each on two cores of the first row, then of the second."""
    cores = ttnn.CoreRangeSet({ttnn.CoreRange(ttnn.CoreCoord(0, 0), ttnn.CoreCoord(1, 1))})
    shard = ttnn.ShardSpec(cores, [32, values.shape[-1]], ttnn.ShardOrientation.ROW_MAJOR)
    return ttnn.from_torch(
        values,
        dtype=ttnn.bfloat16,
        layout=ttnn.TILE_LAYOUT,
        device=device,
        memory_config=ttnn.MemoryConfig(
            ttnn.TensorMemoryLayout.HEIGHT_SHARDED, ttnn.BufferType.L1, shard
        ),
    )


def test_transformation_matrices_that_differ_between_cores_are_refused(device):
    x, ((cos, sin), _) = bf16_normal(1, 2, 4, 64), of_users([5, 90], 64)
    turn = torch.cat((pair_matrix(), -pair_matrix()), 2)
    with pytest.raises(NotEmulated, match="differ"):
        ttnn.experimental.rotary_embedding_llama(
            *(on_cores(device, t) for t in (x, cos, sin, turn)), is_decode_mode=True
        )


def test_half_rotation_only_moves_and_negates(device):
    x = bf16_normal(1, 2, 37, 64)
    out = ttnn.to_torch(ttnn.experimental.rotate_half(on_tiles(device, x))).float()
    assert torch.equal(out, torch.cat((-x[..., 32:], x[..., :32]), -1))


# --- block formats -------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["rotary_embedding", "rotary_embedding_hf"])
def test_rotation_packs_its_products_in_the_tables_format(kernel_device, op):
    """Rotation with sin = 0 is a product with cos: packed in the tables' format, then in x's."""
    x = on_tiles(kernel_device, bf16_normal(1, 2, 64, 64), ttnn.bfloat8_b)
    zero = torch.zeros(1, 1, 64, 64)
    cos = bf16_normal(1, 1, 64, 64)
    rotate = getattr(ttnn.experimental, op)
    for table in (ttnn.bfloat16, ttnn.bfloat8_b):
        tables = on_tiles(kernel_device, cos, table), on_tiles(kernel_device, zero, table)
        product = ttnn.multiply(
            on_tiles(kernel_device, ttnn.to_torch(x)),
            on_tiles(kernel_device, ttnn.to_torch(tables[0]).expand(1, 2, 64, 64)),
            fast_and_approximate_mode=True,
        )
        due = ttnn.to_torch(product)
        if table == ttnn.bfloat8_b:
            due = packed(due, table)
        assert_is(rotate(x, *tables), packed(due, ttnn.bfloat8_b))


def test_of_every_rotation_it_is_known_who_encodes_its_blocks():
    encoders = {
        PACKER: "experimental.rotary_embedding experimental.rotary_embedding_hf "
        "experimental.rotate_half",
        NO_SUCH_OUTPUT: "experimental.rotary_embedding_llama "
        "experimental.rotary_embedding_llama_fused_qk",
    }
    assert named(encoders) == sorted(BINDINGS)


def turned(device, copies):
    """Decode's rotation of three users, each on a core of its own."""
    rows = (on_cores(device, bf16_normal(1, 3, heads, 64)) for heads in (2, 1, 1))
    turn = on_cores(device, torch.eye(32).repeat(copies, 1)[None, None])
    ttnn.experimental.rotary_embedding_llama(*rows, turn, is_decode_mode=True)


def test_a_matrix_for_each_core_is_needed(device):
    sentence = "reaches copies 0 to 2 of trans_mat, which has copies"
    refuses_what_is_beyond(device, Edge("a matrix for each core", turned, 3, 2, sentence))
