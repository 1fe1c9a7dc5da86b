"""Attention over a cache against the recorded kernels, bit for bit."""

import math

import pytest
import torch

from tests.emulator.arithmetic.attention_cases import (
    APPROXIMATE_EXP,
    BF16_DST,
    FP32,
    FP32_DST,
    config_of,
    distance,
    exact,
    operands,
)
from tests.emulator.arithmetic.recorded import assert_same_bits
from ttnn_emulator.arithmetic.compute import CacheScores, Compute
from ttnn_emulator.arithmetic.exact import cache_attention
from ttnn_emulator.arithmetic.exact.cache_attention import (
    _assigned,
    _children,
    cores_per_head,
    default_chunk,
)
from ttnn_emulator.fidelity import recordings

RECORDED_CORES = 72  # the simulated device of the recordings; a mock n150 has 64


def attention_decode(query, key, value, *, cores=1, config=None, **scores):
    return cache_attention.attention_decode(
        query, key, value, scores=CacheScores(**scores), cores=cores, config=config
    )


@pytest.mark.parametrize("case", recordings.cases("sdpa_decode"), ids=str)
def test_decode_equals_the_recorded_kernel(case):
    query, key, value = (case.tensor(name) for name in "qkv")
    result = attention_decode(
        query[0],
        key,
        value,
        positions=case.tensor("pos").tolist(),
        cores=cores_per_head(RECORDED_CORES, query.shape[1], key.shape[1]),
        scale=case.attributes["scale"],
    )
    assert_same_bits(result[None], case.output())


@pytest.mark.parametrize(("length", "chunk"), [(64, 64), (96, 32), (256, 256), (1024, 512)])
def test_default_chunk_divides_the_cache(length, chunk):
    assert default_chunk(length) == chunk


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((64, 1, 32), 2),  # the programs that TTNN 0.81.1 builds on an n150
        ((64, 1, 8), 8),
        ((64, 1, 2), 32),
        ((64, 2, 32), 1),
        ((64, 32, 1), 2),
        ((64, 32, 32), 1),
        ((56, 1, 8), 7),
        ((64, 1, 1, 16), 16),
        ((64, 1, 8, 2), 2),
        ((72, 1, 8), 9),  # by the same rule
    ],
)
def test_cores_per_head_are_those_of_the_program_factory(arguments, expected):
    assert cores_per_head(*arguments) == expected


@pytest.mark.parametrize("cores", [1, 2, 3, 5, 8, 9, 32])
@pytest.mark.parametrize("chunks", [1, 2, 7, 40])
def test_every_chunk_reaches_the_first_core_once(cores, chunks):
    def gathered(rank):
        merged = list(range(*_assigned(rank, chunks, cores)))
        for child in _children(rank, cores):
            if child < chunks:
                merged += gathered(child)
        return merged

    assert sorted(gathered(0)) == list(range(chunks))
    assert chunks - 1 in range(*_assigned(0, chunks, cores))


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        (None, APPROXIMATE_EXP),
        (config_of(k_chunk=32), APPROXIMATE_EXP),
        (config_of(Compute("HiFi4"), exp_approximate=False, k_chunk=64), BF16_DST),
        (config_of(Compute("HiFi4", True, True), k_chunk=64), APPROXIMATE_EXP),
        (config_of(FP32, exp_approximate=False, k_chunk=64), FP32_DST),
    ],
    ids=str,
)
@pytest.mark.parametrize("cores", [1, 2, 9])
def test_every_configuration_decodes(config, limit, cores):
    query, key, value = operands(batch=2, heads=32, kv_heads=8, queries=1, keys=256)
    positions = [100, 255]
    result = attention_decode(
        query[:, :, 0], key, value, positions=positions, cores=cores, config=config
    )
    for user, position in enumerate(positions):
        visible = slice(0, position + 1)
        expected = exact(
            query[user : user + 1],
            key[user : user + 1, :, visible],
            value[user : user + 1, :, visible],
        )
        assert distance(result[user], expected[0, :, 0]) < limit


def test_merging_order_shows_in_the_bits():
    query, key, value = operands(queries=1, keys=256)
    two, eight = (
        attention_decode(
            query[:, :, 0], key, value, positions=[255], cores=cores, config=config_of(k_chunk=32)
        )
        for cores in (2, 8)
    )
    assert not torch.equal(two, eight)


def test_rows_after_the_position_do_not_count():
    query, key, value = operands(queries=1, keys=64)
    result = attention_decode(query[:, :, 0], key, value, positions=[40])
    key[:, :, 41:], value[:, :, 41:] = 7.0, math.inf
    assert_same_bits(attention_decode(query[:, :, 0], key, value, positions=[40]), result)


def test_few_heads_keep_the_approximate_exponential():
    """With at most 16 heads tiles are half as high, and the kernel ignores exp_approx_mode."""
    query, key, value = operands(queries=1, heads=16, kv_heads=16, keys=64)
    accurate, approximate = (
        attention_decode(
            query[:, :, 0],
            key,
            value,
            positions=[63],
            config=config_of(k_chunk=64, exp_approximate=choice),
        )
        for choice in (False, True)
    )
    assert_same_bits(accurate, approximate)


def test_decode_without_positions_sees_the_whole_cache():
    query, key, value = operands(queries=1, keys=64)
    assert (
        distance(attention_decode(query[:, :, 0], key, value), exact(query, key, value)[:, :, 0])
        < APPROXIMATE_EXP
    )


def test_decode_mask_is_added_to_scores_before_scaling():
    """Unlike over a prompt, TTNN does not divide it by the scale (sdpa_flash_decode.cpp)."""
    query, key, value = operands(queries=1, keys=64)
    mask = torch.randn(1, 1, 64, generator=torch.Generator().manual_seed(1)).bfloat16().float()
    result = attention_decode(query[:, :, 0], key, value, mask=mask, scale=0.125)
    expected = exact(query, key, value, attn_mask=mask[:, :, None].double() * 0.125)
    assert distance(result, expected[:, :, 0]) < APPROXIMATE_EXP


def test_decode_sink_takes_its_share_of_the_weights():
    query, key, value = operands(heads=2, kv_heads=2, queries=1, keys=64)
    sink = torch.tensor([1.0, -2.0])
    scores = torch.cat((query @ key.transpose(2, 3), sink[None, :, None, None]), -1)
    expected = ((scores / 8).softmax(-1)[..., :-1] @ value)[:, :, 0]
    result = attention_decode(query[:, :, 0], key, value, sink=sink)
    assert distance(result, expected) < APPROXIMATE_EXP


def test_a_position_outside_the_cache_is_an_error():
    query, key, value = operands(queries=1, keys=64)
    with pytest.raises(ValueError, match=r"\[64\] must lie in the cache, 0 to 63"):
        attention_decode(query[:, :, 0], key, value, positions=[64])
