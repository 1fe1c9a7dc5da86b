"""Rotary position embeddings rotate the plane of each pair; at position 0 by nothing."""

import math

import torch
import ttnn
from hypothesis import given
from hypothesis import strategies as st

from tests.support import strategies
from tests.support.checks import assert_same
from tests.support.tensors import moved_to_cores, on_tiles, pair_matrix, read, rotary_tables

from .cases import rotate_pairs

LENGTH = 128  # of the tables
POSITIONS = st.integers(0, LENGTH - 1)

# ttnn.experimental.rotary_embedding takes 32 and multiples of 64
# (rotary_embedding_device_operation), the rotation in pairs whole tiles.
HALVES = st.sampled_from([32, 64, 128])
PAIRS = st.sampled_from([32, 64, 96, 128])

ULP = 2.0**-7  # of bfloat16, relative to the smallest number of an exponent
# Products x * cos and y * sin are rounded after each of four phases, 1.57 units at most on all
# pairs of significands, and their sum once more, 0.62 units (matrix unit, bfloat16 destination).
# The two products together are at most sqrt(2) of the pair; cos and sin are off by half a unit.
NORM_ERROR = (1.57 + 0.5) * math.sqrt(2) * ULP + 0.62 * ULP


def tables(width, pairs=False):
    """cos and sin [1, 1, C, D], bfloat16, for halves of a row or for columns that lie together."""
    return [table.bfloat16() for table in rotary_tables(LENGTH, width, pairs)]


def rotated(device, x, position=None):
    """Rotation by halves: row s of [B, N, S, D] by position s, or all rows by one."""
    tensors = [on_tiles(device, t) for t in (x, *tables(x.shape[-1]))]
    rotated_tiles = read(ttnn.experimental.rotary_embedding(*tensors, position))
    return rotated_tiles[..., : x.shape[-2], :]  # the kernel makes whole tiles of the rows


def rotated_pairs(device, x):
    """Rotation of neighbouring columns: row s of [B, N, S, D] by position s."""
    tensors = [on_tiles(device, t) for t in (x, *tables(x.shape[-1], pairs=True), pair_matrix())]
    return read(rotate_pairs(*tensors))


def rotated_pairs_of_users(device, x, positions):
    """Rotation of neighbouring columns for decode: user b of [1, B, N, D] by its position."""
    users = x.shape[1]
    rows = [t[:, 0, positions, None] for t in tables(x.shape[-1], pairs=True)]
    tensors = (x, *rows, pair_matrix(users))
    operands = [on_tiles(device, t) for t in tensors[:-1]]
    return read(
        rotate_pairs(
            *(moved_to_cores(t) for t in operands),
            ttnn.to_memory_config(on_tiles(device, tensors[-1]), one_tile_each(device, users)),
            decode=True,
        )
    )


def one_tile_each(device, users):
    return ttnn.create_sharded_memory_config(
        (32, 32),
        ttnn.num_cores_to_corerangeset(
            users, device.compute_with_storage_grid_size(), row_wise=True
        ),
        ttnn.ShardStrategy.HEIGHT,
        ttnn.ShardOrientation.ROW_MAJOR,
        use_height_and_width_as_shard_shape=True,
    )


def norm_of_pairs(x, together):
    """Length of every pair of [..., D] as [..., D / 2]; float64."""
    x = x.double()
    first, second = (x[..., 0::2], x[..., 1::2]) if together else x.chunk(2, -1)
    return torch.hypot(first, second)


@given(st.integers(1, 4), HALVES, strategies.seeds)
def test_position_0_turns_nothing(device, heads, width, seed):
    x = strategies.wide_range(seed, 1, 1, heads, width, exponents=(-20, 20))
    assert_same(rotated(device, x, 0), x)
    assert_same(rotated(device, x[:, :, :1]), x[:, :, :1])


@given(st.integers(1, 4), PAIRS, strategies.seeds)
def test_position_0_turns_no_pairs(device, users, width, seed):
    x = strategies.wide_range(seed, 1, users, 4, width, exponents=(-20, 20))
    assert_same(rotated_pairs(device, x[:, :, :1]), x[:, :, :1])
    assert_same(rotated_pairs_of_users(device, x, [0] * users), x)


@given(st.integers(1, 3), strategies.sizes(97), HALVES, strategies.seeds)
def test_halves_keep_their_length(device, heads, rows, width, seed):
    x = strategies.normal(seed, 1, heads, rows, width)
    before, after = (norm_of_pairs(t, together=False) for t in (x, rotated(device, x)))
    assert ((after - before).abs() <= NORM_ERROR * before).all()


@given(st.integers(1, 3), strategies.sizes(97), PAIRS, strategies.seeds)
def test_pairs_keep_their_length(device, heads, rows, width, seed):
    x = strategies.normal(seed, 1, heads, rows, width)
    before, after = (norm_of_pairs(t, together=True) for t in (x, rotated_pairs(device, x)))
    assert ((after - before).abs() <= NORM_ERROR * before).all()


@given(st.integers(1, 32), HALVES, POSITIONS, strategies.seeds)
def test_one_position_for_all_rows_is_that_row_of_the_prompt(device, heads, width, at, seed):
    x = strategies.normal(seed, 1, 1, heads, width)
    prompt = x[0, 0, :, None].expand(-1, LENGTH, -1)[None].contiguous()  # [1, N, C, D]
    assert_same(rotated(device, x, at)[0, 0], rotated(device, prompt)[0, :, at])


@given(st.lists(POSITIONS, min_size=1, max_size=4), PAIRS, strategies.seeds)
def test_every_user_turns_by_its_own_position(device, positions, width, seed):
    x = strategies.normal(seed, 1, len(positions), 3, width)
    prompt = x[0, :, :, None].expand(-1, -1, LENGTH, -1).contiguous()  # [B, N, C, D]
    by_prompt = [
        rotated_pairs(device, prompt[b : b + 1])[0, :, at] for b, at in enumerate(positions)
    ]
    assert_same(rotated_pairs_of_users(device, x, positions)[0], torch.stack(by_prompt))


@given(st.integers(0, 60), st.integers(1, 60), HALVES, strategies.seeds)
def test_scores_depend_on_the_distance_alone(device, start, distance, width, seed):
    """q at p and k at p + d give one product for every p: what rotary embeddings are for."""
    q, k = (strategies.normal(seed + i, 1, 1, 1, width) for i in range(2))

    def score(p):
        turned = rotated(device, q, p), rotated(device, k, p + distance)
        return torch.dot(*(t.double().flatten() for t in turned))

    # each of the four turned vectors is off by NORM_ERROR of its length at most
    allowed = 4 * NORM_ERROR * q.double().norm() * k.double().norm()
    assert abs(score(0) - score(start)) <= allowed
