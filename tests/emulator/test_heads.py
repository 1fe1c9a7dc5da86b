"""Splitting projections into heads and joining them: every bit at its place."""

import pytest
import torch
import ttnn

from tests.support.emulated import contents, fill_padding
from tests.support.packing import AS_IT_LIES, NO_SUCH_OUTPUT, PACKER, assert_is, named, packed
from tests.support.tensors import bf16_normal, on_cores, on_tiles
from ttnn_emulator.dispatch import NotEmulated
from ttnn_emulator.ops.common.bounds import OutOfBounds
from ttnn_emulator.ops.heads.heads import BINDINGS

SPLITS = [  # batch, sequence, heads, kv heads, head_dim
    (1, 32, 4, 4, 96),
    (1, 37, 8, 2, 64),
    (2, 64, 3, 1, 32),
]


def split(fused, heads, kv_heads):
    """[B, S, (N + 2 K) D] -> q, k, v, as a view and a transpose in torch."""
    width = fused.shape[-1] // (heads + 2 * kv_heads)
    parts = fused.split([heads * width, kv_heads * width, kv_heads * width], dim=-1)
    return [p.unflatten(-1, (-1, width)).transpose(1, 2) for p in parts]


@pytest.mark.parametrize(("batch", "sequence", "heads", "kv_heads", "width"), SPLITS)
def test_split_is_a_view_and_a_transpose(device, batch, sequence, heads, kv_heads, width):
    fused = bf16_normal(batch, sequence, (heads + 2 * kv_heads) * width)
    expected = split(fused, heads, kv_heads)
    counts = {"num_heads": heads, "num_kv_heads": kv_heads}
    for name, outputs in {
        "nlp": ttnn.experimental.nlp_create_qkv_heads(
            on_tiles(device, fused[:, None]), **counts, transpose_k_heads=False
        ),
        "split": ttnn.transformer.split_query_key_value_and_split_heads(
            on_tiles(device, fused), **counts, transpose_key=False
        ),
    }.items():
        for part, tensor in zip(expected, outputs, strict=True):
            assert torch.equal(ttnn.to_torch(tensor).float(), part), name


@pytest.mark.parametrize(("batch", "sequence", "heads", "kv_heads", "width"), SPLITS)
def test_separate_keys_and_values_split_alike(device, batch, sequence, heads, kv_heads, width):
    fused = bf16_normal(batch, sequence, (heads + 2 * kv_heads) * width)
    q, k, v = split(fused, heads, kv_heads)
    query, kv = fused[..., : heads * width], fused[..., heads * width :]
    outputs = ttnn.experimental.nlp_create_qkv_heads(
        on_tiles(device, query[:, None]),
        on_tiles(device, kv[:, None]),
        num_heads=heads,
        num_kv_heads=kv_heads,
    )
    for part, tensor in zip((q, k.transpose(-1, -2), v), outputs, strict=True):
        assert torch.equal(ttnn.to_torch(tensor).float(), part)


def test_tied_values_are_the_keys(device):
    query, shared = bf16_normal(1, 1, 32, 4 * 64), bf16_normal(1, 1, 32, 2 * 64)
    _, k, v = ttnn.experimental.nlp_create_qkv_heads(
        on_tiles(device, query),
        on_tiles(device, shared),
        num_heads=4,
        num_kv_heads=2,
        transpose_k_heads=False,
        kv_tied=True,
    )
    expected = shared[:, 0].unflatten(-1, (2, 64)).transpose(1, 2)
    assert torch.equal(ttnn.to_torch(k).float(), expected)
    assert torch.equal(ttnn.to_torch(v).float(), expected)


@pytest.mark.parametrize(("batch", "sequence", "heads", "kv_heads", "width"), SPLITS)
def test_joining_undoes_splitting(device, batch, sequence, heads, kv_heads, width):
    fused = bf16_normal(batch, 1, sequence, (heads + 2 * kv_heads) * width)
    q, _, _ = ttnn.experimental.nlp_create_qkv_heads(
        on_tiles(device, fused), num_heads=heads, num_kv_heads=kv_heads
    )
    expected = fused[..., : heads * width]
    assert torch.equal(ttnn.to_torch(ttnn.experimental.nlp_concat_heads(q)).float(), expected)
    assert torch.equal(ttnn.to_torch(ttnn.transformer.concatenate_heads(q)).float(), expected[:, 0])


def test_padding_rows_are_carried_along(device):
    fused = fill_padding(7.0, on_tiles(device, bf16_normal(1, 1, 37, 6 * 64)))
    q, k, v = ttnn.experimental.nlp_create_qkv_heads(
        fused, num_heads=2, num_kv_heads=2, transpose_k_heads=False
    )
    for tensor in (q, k, v, ttnn.experimental.nlp_concat_heads(q)):
        assert (contents(tensor)[:, :, 37:] == 7.0).all()


@pytest.mark.parametrize("users", [1, 4, 32])
def test_decode_heads_of_every_user_fill_a_tile_of_their_own(device, users):
    fused = bf16_normal(1, 1, users, 3 * 4 * 96)
    outputs = ttnn.experimental.nlp_create_qkv_heads_decode(
        on_tiles(device, fused), num_heads=4, num_kv_heads=4
    )
    for part, tensor in zip(split(fused[0, 0, :, None], 4, 4), outputs, strict=True):
        assert torch.equal(ttnn.to_torch(tensor).float(), part.transpose(1, 2).transpose(0, 1))
        assert contents(tensor)[:, :, 4:].isnan().all(), "rows that the kernel does not write"


def test_joined_decode_heads_have_32_rows_and_only_the_users_are_written(device):
    values = bf16_normal(1, 4, 8, 64)
    out = ttnn.experimental.nlp_concat_heads_decode(on_cores(device, values), num_heads=8)
    rows = ttnn.to_torch(out).float()[0, 0]
    assert torch.equal(rows[:4], values[0].flatten(1))
    assert rows[4:].isnan().all()


def test_heads_that_end_within_a_tile_are_refused(device):
    fused = on_tiles(device, bf16_normal(1, 1, 32, 3 * 2 * 80))
    with pytest.raises(NotEmulated, match="80 columns"):
        ttnn.experimental.nlp_create_qkv_heads(fused, num_heads=2)


# --- of shards -----------------------------------------------------------------------------------


def on_width(device, values, cores):
    """The columns of [1, 1, 32, W] on `cores` cores."""
    grid = ttnn.num_cores_to_corerangeset(cores, ttnn.CoreCoord(8, 8), row_wise=True)
    shard = ttnn.ShardSpec(grid, [32, values.shape[-1] // cores], ttnn.ShardOrientation.ROW_MAJOR)
    layout = ttnn.TensorMemoryLayout.WIDTH_SHARDED
    place = ttnn.MemoryConfig(layout, ttnn.BufferType.L1, shard)
    return ttnn.to_memory_config(on_tiles(device, values), place)


def groups_of(fused, kv_heads, *sizes):
    """Columns [K, parts, D] -> the heads of each part, [1, heads, S, D]."""
    parts = fused[:, 0].unflatten(-1, (kv_heads, sum(sizes), -1)).movedim(1, 3)  # [1, K, n, S, D]
    return [part.flatten(1, 2) for part in parts.split(sizes, 2)]


SHARDED = {"transpose_k_heads": False, "memory_config": ttnn.L1_HEIGHT_SHARDED_MEMORY_CONFIG}


def test_each_core_splits_its_own_columns(device):
    fused = bf16_normal(1, 1, 32, 8 * (4 + 2) * 64)
    outputs = ttnn.experimental.nlp_create_qkv_heads(
        on_width(device, fused, 8), num_heads=32, num_kv_heads=8, **SHARDED
    )
    for part, tensor in zip(groups_of(fused, 8, 4, 1, 1), outputs, strict=True):
        assert torch.equal(ttnn.to_torch(tensor).float(), part)


def test_each_core_splits_its_own_keys_and_values(device):
    query, kv = bf16_normal(1, 1, 32, 32 * 64), bf16_normal(1, 1, 32, 8 * 2 * 64)
    outputs = ttnn.experimental.nlp_create_qkv_heads(
        on_width(device, query, 8), on_width(device, kv, 8), num_heads=32, num_kv_heads=8, **SHARDED
    )
    expected = groups_of(query, 8, 4) + groups_of(kv, 8, 1, 1)
    for part, tensor in zip(expected, outputs, strict=True):
        assert torch.equal(ttnn.to_torch(tensor).float(), part)


def test_blocks_of_a_grid_have_their_heads_one_after_the_other(device):
    fused = bf16_normal(2, 64, 4 * 3 * 64)
    place = ttnn.create_sharded_memory_config(
        tuple(fused.shape), core_grid=ttnn.CoreGrid(y=2, x=4), strategy=ttnn.ShardStrategy.BLOCK
    )
    q, k, v = ttnn.transformer.split_query_key_value_and_split_heads(
        ttnn.to_memory_config(on_tiles(device, fused), place),
        num_heads=4,
        memory_config=ttnn.L1_HEIGHT_SHARDED_MEMORY_CONFIG,
    )
    expected = groups_of(fused[:, None], 4, 1, 1, 1)
    for part, tensor in zip((expected[0], expected[1].mT, expected[2]), (q, k, v), strict=True):
        assert torch.equal(ttnn.to_torch(tensor).float(), part)


def test_a_slice_of_users_begins_at_its_offset(device):
    fused = bf16_normal(1, 1, 32, 8 * 64)
    offset = ttnn.from_torch(torch.tensor([8]), dtype=ttnn.uint32, device=device)
    outputs = ttnn.experimental.nlp_create_qkv_heads_decode(
        on_width(device, fused, 8),
        num_heads=4,
        num_kv_heads=2,
        batch_offset=offset,
        slice_size=8,
        memory_config=ttnn.L1_HEIGHT_SHARDED_MEMORY_CONFIG,
    )
    heads = fused[0, 0, 8:16].unflatten(-1, (8, 64))[None]
    for part, tensor in zip(heads.split([4, 2, 2], 2), outputs, strict=True):
        assert torch.equal(ttnn.to_torch(tensor).float(), part)


def test_users_beyond_the_rows_of_a_slice_are_refused(device):
    fused = on_width(device, bf16_normal(1, 1, 32, 8 * 64), 8)
    offset = ttnn.from_torch(torch.tensor([28]), dtype=ttnn.uint32, device=device)
    with pytest.raises(OutOfBounds, match="rows 28 to 35 of input_tensor"):
        ttnn.experimental.nlp_create_qkv_heads_decode(
            fused,
            num_heads=4,
            num_kv_heads=2,
            batch_offset=offset,
            slice_size=8,
            memory_config=ttnn.L1_HEIGHT_SHARDED_MEMORY_CONFIG,
        )


def test_shards_that_are_not_full_are_refused(device):
    grid = ttnn.num_cores_to_corerangeset(8, ttnn.CoreCoord(8, 8), row_wise=True)
    shard = ttnn.ShardSpec(grid, [32, 96], ttnn.ShardOrientation.ROW_MAJOR)
    layout = ttnn.TensorMemoryLayout.WIDTH_SHARDED
    place = ttnn.MemoryConfig(layout, ttnn.BufferType.L1, shard)
    fused = ttnn.to_memory_config(on_tiles(device, bf16_normal(1, 1, 32, 8 * 64)), place)
    with pytest.raises(NotEmulated, match="do not fill"):
        ttnn.experimental.nlp_create_qkv_heads_decode(
            fused,
            num_heads=4,
            num_kv_heads=2,
            memory_config=ttnn.L1_HEIGHT_SHARDED_MEMORY_CONFIG,
        )


# --- block formats -------------------------------------------------------------------------------


def test_transposed_keys_of_heads_are_packed_anew(kernel_device):
    fused = torch.randn(1, 1, 64, 192) * torch.logspace(-2, 2, 192)
    x = on_tiles(kernel_device, fused, ttnn.bfloat8_b)
    split = ttnn.experimental.nlp_create_qkv_heads(
        x, num_heads=1, num_kv_heads=1, transpose_k_heads=True
    )
    keys = ttnn.to_torch(x)[..., 64:128].transpose(2, 3)
    assert_is(split[1], packed(keys, ttnn.bfloat8_b))


@pytest.mark.parametrize(
    ("join", "expected"),
    [
        (ttnn.experimental.nlp_concat_heads, lambda x: x.transpose(1, 2).flatten(2)[:, None]),
        (ttnn.transformer.concatenate_heads, lambda x: x.transpose(1, 2).flatten(2)),
    ],
    ids=["nlp", "transformer"],
)
def test_blocks_of_joined_heads_move_as_they_are(kernel_device, join, expected):
    x = on_tiles(
        kernel_device, torch.randn(1, 2, 64, 64) * torch.logspace(-2, 2, 64), ttnn.bfloat8_b
    )
    assert_is(join(x), expected(ttnn.to_torch(x)))


def test_of_every_operation_on_heads_it_is_known_who_encodes_its_blocks():
    encoders = {
        PACKER: "experimental.nlp_create_qkv_heads "
        "transformer.split_query_key_value_and_split_heads",
        AS_IT_LIES: "experimental.nlp_concat_heads transformer.concatenate_heads",
        NO_SUCH_OUTPUT: "experimental.nlp_create_qkv_heads_decode "
        "experimental.nlp_concat_heads_decode",
    }
    assert named(encoders) == sorted(BINDINGS)
