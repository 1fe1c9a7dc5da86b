"""Attention over a prompt and over a cache: which keys each query sees.

B users, S sequence, N heads, K kv heads, D head_dim, C cache length.
"""

import math

import pytest
import torch
import ttnn
from hypothesis import given
from hypothesis import strategies as st

from tests.support import strategies
from tests.support.checks import assert_same
from tests.support.tensors import ACCURATE, TILE, moved_to_cores, on_tiles, read

CONFIGS = pytest.mark.parametrize("config", [None, ACCURATE], ids=["default", "accurate"])

HEADS = st.sampled_from([(1, 1), (2, 2), (4, 2), (3, 1), (8, 2)])  # N, K
WIDTHS = st.sampled_from([32, 64, 96])
LENGTHS = strategies.sizes(97)

# TTNN takes e^x by a line through the exponent's bits (ckernel_sfpu_exp.h): it is off by 3.4 % at
# most. Prefill and decode subtract different maxima first, so that their errors are two.
EXPONENTIAL_ERROR = 0.034
DECODE_AND_PREFILL = math.sqrt(2) * EXPONENTIAL_ERROR

# Of a single weight: the exponential of 0, its reciprocal and two products, each kept to seven
# significant bits or more.
SINGLE_WEIGHT_ERROR = 4 * 2.0**-7


def prefill(device, q, k, v, config=None):
    """Causal attention [1, N, S, D] of a prompt."""
    tensors = (on_tiles(device, t) for t in (q, k, v))
    return read(
        ttnn.transformer.scaled_dot_product_attention(
            *tensors, is_causal=True, compute_kernel_config=config
        )
    )


def decode(device, q, keys, values, positions, config=None):
    """Attention [1, B, N, D] of one query for each user over caches [B, K, C, D]."""
    tensors = (on_tiles(device, t) for t in (q, keys, values))
    return read(
        ttnn.transformer.scaled_dot_product_attention_decode(
            *tensors, cur_pos=positions, compute_kernel_config=config
        )
    )


def prompt(seed, heads, length, width, scale=1.0):
    n_heads, n_kv_heads = heads
    q = strategies.normal(seed, 1, n_heads, length, width, scale=scale)
    return q, *(strategies.normal(seed + i, 1, n_kv_heads, length, width) for i in (1, 2))


def whole_tiles(cache):
    """Zero rows behind the last one, up to whole tiles: a cache has no padding."""
    return torch.nn.functional.pad(cache, (0, 0, 0, -cache.shape[2] % TILE))


@CONFIGS
@given(st.data(), HEADS, LENGTHS, WIDTHS, strategies.seeds)
def test_a_prompt_does_not_see_its_future(device, config, data, heads, length, width, seed):
    length_kept = data.draw(st.integers(1, length), label="positions that stay")
    q, k, v = prompt(seed, heads, length, width)
    first = prefill(device, q, k, v, config)
    for tensor, other in zip((q, k, v), prompt(seed + 3, heads, length, width, 5.0), strict=True):
        tensor[:, :, length_kept:] = other[:, :, length_kept:]
    assert_same(prefill(device, q, k, v, config)[:, :, :length_kept], first[:, :, :length_kept])


@given(HEADS, st.integers(1, 97), st.integers(0, 64), WIDTHS, strategies.seeds)
def test_a_longer_prompt_begins_like_a_shorter_one(device, heads, length, more, width, seed):
    tensors = prompt(seed, heads, length + more, width)
    longer = prefill(device, *tensors)
    shorter = prefill(device, *(t[:, :, :length].contiguous() for t in tensors))
    assert_same(longer[:, :, :length], shorter)


@given(st.data(), HEADS, WIDTHS, st.sampled_from([32, 64, 96, 128]), strategies.seeds)
def test_decode_sees_nothing_behind_its_position(device, data, heads, width, length, seed):
    """Stale keys are masked and weigh nothing, as long as their scores are finite numbers."""
    users = data.draw(st.integers(1, 3), label="users")
    positions = data.draw(st.tuples(*[st.integers(0, length - 1)] * users), label="positions")
    q = strategies.normal(seed, 1, users, heads[0], width)
    caches = [strategies.normal(seed + i, users, heads[1], length, width) for i in (1, 2)]
    clean = decode(device, q, *caches, list(positions))
    keys, values = caches
    stale = strategies.wide_range(seed + 3, *keys.shape)
    for user, position in enumerate(positions):
        keys[user, :, position + 1 :] = stale[user, :, position + 1 :]
        values[user, :, position + 1 :] = math.nan
    assert_same(decode(device, q, *caches, list(positions)), clean)


@given(st.data(), HEADS, WIDTHS, strategies.seeds)
def test_a_users_result_does_not_depend_on_the_others(device, data, heads, width, seed):
    users, length = data.draw(st.integers(2, 4), label="users"), 64
    positions = data.draw(st.tuples(*[st.integers(0, length - 1)] * users), label="positions")
    user = data.draw(st.integers(0, users - 1), label="user")
    results = []
    for other_seed in (seed, seed + 10):
        q = strategies.normal(other_seed, 1, users, heads[0], width)
        keys, values = (
            strategies.normal(other_seed + i, users, heads[1], length, width) for i in (1, 2)
        )
        q[0, user] = strategies.normal(seed + 20, heads[0], width)
        keys[user], values[user] = (
            strategies.normal(seed + i, heads[1], length, width) for i in (21, 22)
        )
        results.append(decode(device, q, keys, values, list(positions))[0, user])
    assert_same(results[1], results[0])


@CONFIGS
@given(st.data(), HEADS, LENGTHS, WIDTHS, st.sampled_from([0.5, 1.0, 3.0]), strategies.seeds)
def test_decode_at_a_position_is_that_row_of_the_prompt(
    device, config, data, heads, length, width, scale, seed
):
    at = data.draw(st.integers(0, length - 1), label="position")
    q, k, v = prompt(seed, heads, length, width, scale)
    row = prefill(device, q, k, v, config)[0, :, at].double()
    step = decode(device, q[:, :, at][None], *map(whole_tiles, (k, v)), [at], config)[0, 0].double()
    assert (step - row).norm() <= DECODE_AND_PREFILL * row.norm()


@st.composite
def pointers(draw):
    """A position for each of some queries, that one of their own or an earlier one."""
    length = draw(strategies.sizes(64))
    return [draw(st.integers(0, at)) for at in range(length)]


@CONFIGS
@given(HEADS, pointers(), strategies.seeds)
def test_a_query_that_one_key_answers_gets_its_value(device, config, heads, targets, seed):
    """Keys point along the axes, each its own; a query along one of them."""
    (n_heads, n_kv_heads), length, width = heads, len(targets), 64
    axes = 32 * torch.eye(width)  # a score is 1024 / 8 or nothing
    q = axes[targets].expand(1, n_heads, -1, -1).contiguous()
    k = axes[:length].expand(1, n_kv_heads, -1, -1).contiguous()
    v = strategies.normal(seed, 1, n_kv_heads, length, width)
    expected = v.repeat_interleave(n_heads // n_kv_heads, 1)[:, :, targets].double()
    allowed = SINGLE_WEIGHT_ERROR * expected.abs()
    assert ((prefill(device, q, k, v, config).double() - expected).abs() <= allowed).all()
    at = length - 1
    step = decode(device, q[:, :, at][None], *map(whole_tiles, (k, v)), [at], config)[0].double()
    assert ((step - expected[:, :, at]).abs() <= allowed[:, :, at]).all()


@given(HEADS, LENGTHS, WIDTHS, strategies.seeds)
def test_grouped_heads_are_heads_with_repeated_keys_and_values(device, heads, length, width, seed):
    """Head n uses kv head n // (N / K), as Hugging Face's repeat_kv has it."""
    q, k, v = prompt(seed, heads, length, width)
    repeats = heads[0] // heads[1]
    repeated = [t.repeat_interleave(repeats, 1) for t in (k, v)]
    assert_same(prefill(device, q, k, v), prefill(device, q, *repeated))


@given(st.data(), HEADS, WIDTHS, strategies.seeds)
def test_queries_may_lie_on_cores_or_in_dram(device, data, heads, width, seed):
    users, length = data.draw(st.sampled_from([1, 2, 8, 32]), label="users"), 64
    positions = [(user * 29) % length for user in range(users)]
    q = on_tiles(device, strategies.normal(seed, 1, users, heads[0], width))
    caches = [
        on_tiles(device, strategies.normal(seed + i, users, heads[1], length, width))
        for i in (1, 2)
    ]
    op = ttnn.transformer.scaled_dot_product_attention_decode
    assert_same(
        read(op(moved_to_cores(q), *caches, cur_pos=positions)),
        read(op(q, *caches, cur_pos=positions)),
    )
