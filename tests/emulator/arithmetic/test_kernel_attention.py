"""Attention over a prompt against the recorded kernels, bit for bit."""

import math
from dataclasses import replace

import pytest
import torch

from tests.emulator.arithmetic.attention_cases import (
    APPROXIMATE_EXP,
    FP32,
    FP32_DST,
    config_of,
    distance,
    exact,
    operands,
)
from tests.emulator.arithmetic.recorded import (
    assert_reproduces,
    assert_same_bits,
    device_input,
    from_patterns,
)
from ttnn_emulator.arithmetic.compute import PromptScores, default_scale
from ttnn_emulator.arithmetic.exact import prompt_attention
from ttnn_emulator.arithmetic.exact.attention_steps import ATTENTION
from ttnn_emulator.arithmetic.exact.prompt_attention import _first_rows, _subblock
from ttnn_emulator.fidelity import recordings


def attention(query, key, value, *, config=None, **scores):
    return prompt_attention.attention(
        query, key, value, scores=PromptScores(**scores), config=config
    )


@pytest.mark.parametrize("case", recordings.cases("sdpa"), ids=str)
def test_attention_equals_the_recorded_kernel(case):
    query, key, value = (device_input(case, name) for name in "qkv")
    assert_reproduces(case, attention(query, key, value, scale=case.attributes["scale"]))


def test_attention_takes_the_steps_worked_by_hand():
    i, j = torch.arange(64, dtype=torch.float64)[:, None], torch.arange(96, dtype=torch.float64)
    query = torch.sin(0.37 * i + 0.11 * j * ((i % 5) + 1))
    key = torch.cos(0.23 * i * ((j % 7) + 1) + 0.05 * j)
    value = torch.sin(0.9 * i + 0.3 * j)
    query, key, value = (x.bfloat16().float()[None, None] for x in (query, key, value))
    result = attention(query, key, value)[0, 0][[0, 1, 31, 32, 63]][:, [0, 1, 95]]
    expected = from_patterns(
        *(0x0000, 0x3E96, 0xBE64),
        *(0x3ECD, 0x3F1E, 0xBF11),
        *(0x3D20, 0x3D3E, 0xBD38),
        *(0x3C3E, 0x3C05, 0xBC13),
        *(0x3C8F, 0x3CC2, 0xBCB5),
    )
    assert_same_bits(result, expected.reshape(5, 3))


def test_the_default_scale_is_rounded_as_ttnns_host_rounds_it():
    """As seen in the compile-time arguments of the programs that TTNN 0.81.1 builds."""
    observed = {32: 0x3E3504F3, 64: 0x3E000000, 96: 0x3DD105EB, 288: 0x3D715BF0, 384: 0x3D5105EB}
    for width, pattern in (observed | {448: 0x3D418490}).items():
        assert torch.tensor(default_scale(width)).view(torch.int32).item() == pattern


EXACT_EXP = config_of(FP32, exp_approximate=False)


def one_row(*, scores, values, config=EXACT_EXP):
    """Attention of one query, [1, 0, ...], to keys with these scores, before a scale of 1."""
    keys = len(scores)
    query, key, value = (torch.zeros(1, 1, rows, 32) for rows in (1, keys, keys))
    query[..., 0] = 1
    key[0, 0, :, 0] = torch.tensor(scores)
    value[0, 0, :, 0] = torch.tensor(values)
    return attention(query, key, value, scale=1.0, causal=False, config=config)[0, 0, 0, 0].item()


def test_a_wide_destinations_maximum_is_cut_to_bfloat16():
    """Score 257 (256 and 1 of two channels) is cut to 256: e^1 and e^-87 share the row.

    A maximum of 257 would give the second key e^-88, which is less than any normal float32.
    """
    query, key = torch.zeros(1, 1, 1, 32), torch.zeros(1, 1, 32, 32)
    query[..., :2] = 1
    key[0, 0, 0, :2] = torch.tensor([256.0, 1.0])
    key[0, 0, 1:, 0] = 169.0
    value = torch.zeros(1, 1, 32, 32)
    value[0, 0, 1] = 2.0**100
    result = attention(query, key, value, scale=1.0, causal=False, config=EXACT_EXP)[
        0, 0, 0, 0
    ].item()
    # bfloat16 holds the result and its weight to 2^-8 each: 29 November 2026.
    assert result == pytest.approx(2.0**100 * math.exp(-88), rel=2 * 2.0**-8)


def test_a_wide_destinations_output_is_kept_as_bfloat16_between_chunks():
    """1 + 2^-9 of the first chunk is rounded before the second takes it away again."""
    values = [1.0, 2.0**-9] + [0.0] * 30
    in_two_chunks = one_row(scores=[0.0] * 64, values=values + [-1.0] + [0.0] * 31)
    in_one_chunk = one_row(
        scores=[0.0] * 64,
        values=values + [-1.0] + [0.0] * 31,
        config=config_of(FP32, k_chunk=64, exp_approximate=False),
    )
    assert (in_two_chunks, in_one_chunk) == (0.0, 2.0**-15)


def test_a_wide_destinations_product_is_rounded_before_it_is_divided():
    """1 + 2^-8 of three keys becomes 1 + 2^-7, a third of which is 0.3359375; else 0.333984375."""
    values = [1.0, 2.0**-8] + [0.0] * 30
    assert one_row(scores=[0.0] * 3 + [-1e4] * 29, values=values) == 0.3359375


def test_rows_do_not_depend_on_each_other():
    query, key, value = operands()
    assert_same_bits(
        attention(query[:, :, :37], key, value), attention(query, key, value)[:, :, :37]
    )


@pytest.mark.parametrize(
    ("q_chunk", "k_chunk", "width", "scores", "first_rows"),
    [
        (64, 160, 96, (1, 5), 64),
        (96, 128, 96, (3, 2), 64),
        (128, 128, 32, (2, 4), 64),
        (128, 128, 64, (2, 4), 64),
        (128, 128, 256, (2, 4), 64),
        (192, 64, 96, (3, 2), 64),
        (256, 256, 96, (2, 4), 64),
        (32, 512, 96, (1, 8), 32),
        (160, 160, 96, (1, 5), 64),
    ],
)
def test_blocks_in_dst_are_those_of_the_program_factory(
    q_chunk, k_chunk, width, scores, first_rows
):
    """As seen in the compile-time arguments of the programs that TTNN 0.81.1 builds."""
    assert _subblock(q_chunk // 32, k_chunk // 32) == scores
    assert _first_rows(q_chunk, width) == first_rows


@pytest.mark.parametrize("q_chunk", [64, 96])
def test_chunk_of_queries_does_not_change_a_result(q_chunk):
    """As long as a chunk of keys is one tile, and so its product with values has one piece."""
    query, key, value = operands(queries=192, keys=192)
    whole = attention(query, key, value, config=config_of(q_chunk=q_chunk))
    assert_same_bits(whole, attention(query, key, value))


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        (config_of(), APPROXIMATE_EXP),
        (config_of(q_chunk=64, k_chunk=128), APPROXIMATE_EXP),
        (config_of(q_chunk=256, k_chunk=256), APPROXIMATE_EXP),
        (config_of(q_chunk=32, k_chunk=512), APPROXIMATE_EXP),
        (config_of(q_chunk=128, k_chunk=64, exp_approximate=False), APPROXIMATE_EXP),
        (config_of(FP32), APPROXIMATE_EXP),
        (config_of(FP32, exp_approximate=False), FP32_DST),
        (config_of(FP32, exp_approximate=False, q_chunk=64, k_chunk=96), FP32_DST),
    ],
    ids=str,
)
@pytest.mark.parametrize("causal", [True, False])
def test_every_configuration_computes_attention(config, limit, causal):
    query, key, value = operands(queries=320, keys=320)
    result = attention(query, key, value, causal=causal, config=config)
    assert distance(result, exact(query, key, value, is_causal=causal)) < limit


def test_first_rows_sum_the_pieces_of_a_wide_chunk_of_keys():
    """Eight rows of tiles and eight of keys: values are taken four tiles at a time in two rows."""
    query, key, value = operands(queries=256, keys=256)
    config = config_of(q_chunk=256, k_chunk=256)
    early = attention(query, key, value, causal=False, config=config)
    plain = attention(query, key, value, causal=False, config=config_of(q_chunk=32, k_chunk=256))
    equal = (early == plain).all(-1)[0, 0]
    assert equal[64:].all()
    assert not equal[:64].all()


def test_padding_keys_are_hidden_without_a_causal_mask():
    query, key, value = operands(keys=64)
    expected = exact(query, key[:, :, :37], value[:, :, :37])
    assert distance(attention(query, key, value, causal=False, keys=37), expected) < APPROXIMATE_EXP


def test_mask_of_minus_infinity_is_a_causal_mask():
    query, key, value = operands()
    mask = torch.full((1, 1, 96, 96), -math.inf).triu(1)
    assert_same_bits(
        attention(query, key, value, mask=mask, causal=False), attention(query, key, value)
    )


@pytest.mark.parametrize("fp32_dest_acc", [False, True])
def test_mask_is_added_to_scaled_scores(fp32_dest_acc):
    query, key, value = operands()
    mask = torch.randn(1, 1, 96, 96, generator=torch.Generator().manual_seed(1)).bfloat16().float()
    result = attention(
        query,
        key,
        value,
        mask=mask,
        causal=False,
        config=config_of(replace(ATTENTION, fp32_dest_acc=fp32_dest_acc)),
    )
    expected = exact(query, key, value, attn_mask=mask.double())
    assert distance(result, expected) < APPROXIMATE_EXP


def test_window_hides_older_keys():
    query, key, value = operands()
    age = torch.arange(96)[:, None] - torch.arange(96)
    expected = exact(query, key, value, attn_mask=(age >= 0) & (age < 40))
    assert distance(attention(query, key, value, window=40), expected) < APPROXIMATE_EXP


def test_later_chunk_of_a_prompt_continues_it():
    query, key, value = operands(queries=128, keys=128)
    later = attention(query[:, :, 64:], key, value, start=64)
    assert_same_bits(later, attention(query, key, value)[:, :, 64:])


def test_sink_takes_its_share_of_the_weights():
    query, key, value = operands(heads=2, kv_heads=2)
    sink = torch.tensor([1.0, -2.0])
    scale = 1 / 8
    scores = (query @ key.transpose(2, 3)).masked_fill(
        torch.ones(96, 96, dtype=torch.bool).triu(1), -math.inf
    )
    with_sink = torch.cat((scores, sink[None, :, None, None].expand(1, 2, 96, 1)), -1)
    expected = (with_sink * scale).softmax(-1)[..., :-1] @ value
    result = attention(query, key, value, sink=sink, scale=scale)
    assert distance(result, expected) < APPROXIMATE_EXP
