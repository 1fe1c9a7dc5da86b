"""Scaled dot product attention against Hugging Face's eager attention."""

import types

import pytest
import torch
import ttnn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from transformers.models.phi3.modeling_phi3 import eager_attention_forward

import ttnn_emulator
from tests.support.emulated import contents, fill_padding
from tests.support.tensors import bf16_normal, in_rows, on_cores, on_tiles
from ttnn_emulator.arithmetic.rounded import rounded_attention
from ttnn_emulator.dispatch import NotEmulated
from ttnn_verify.numerics.metrics import relative_l2
from ttnn_verify.numerics.tolerance import bf16_relative_l2

sdpa = ttnn.transformer.scaled_dot_product_attention
sdpa_decode = ttnn.transformer.scaled_dot_product_attention_decode

# Inputs are exact in bf16 and rounded arithmetic rounds its result and nothing else.
ROUNDED_ONCE = bf16_relative_l2(1)

PROMPTS = [  # batch, heads, kv heads, sequence, head_dim
    (1, 4, 4, 64, 96),
    (1, 8, 2, 37, 64),
    (2, 3, 1, 100, 32),
]


def eager(query, key, value, visible=None, bias=None, scale=None):
    """Hugging Face's attention [B, N, S, D]; `visible` [S, T] says which keys a query sees."""
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    groups = types.SimpleNamespace(
        num_key_value_groups=query.shape[1] // key.shape[1], training=False
    )
    if visible is not None:
        bias = torch.zeros(visible.shape).masked_fill(~visible, -torch.inf)[None, None]
    out, _ = eager_attention_forward(groups, query, key, value, bias, scaling=scale)
    return out.transpose(1, 2)


def causal(length):
    return torch.ones(length, length, dtype=torch.bool).tril()


def qkv(batch, heads, kv_heads, length, width):
    return bf16_normal(batch, heads, length, width), *(
        bf16_normal(batch, kv_heads, length, width) for _ in range(2)
    )


def run(op, device, *tensors, **arguments):
    return ttnn.to_torch(op(*(on_tiles(device, t) for t in tensors), **arguments)).float()


@pytest.mark.parametrize("shape", PROMPTS, ids=str)
def test_causal_attention_is_hugging_faces(device, shape):
    q, k, v = qkv(*shape)
    expected = eager(q, k, v, causal(shape[3]))
    assert relative_l2(expected, run(sdpa, device, q, k, v)) <= ROUNDED_ONCE


def test_a_long_prompt_is_computed_in_parts_that_do_not_show(device, monkeypatch):
    q, k, v = qkv(*PROMPTS[1])
    whole = run(sdpa, device, q, k, v)
    monkeypatch.setattr(rounded_attention, "SCORES_AT_ONCE", 10 * 8 * 64)  # ten queries
    assert relative_l2(whole, run(sdpa, device, q, k, v)) <= ROUNDED_ONCE


class Largest(TorchDispatchMode):
    """Knows the bytes of the largest tensor that any call of torch has made."""

    size = 0

    def __torch_dispatch__(self, function, _types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        made = [x for x in tree_flatten(result)[0] if isinstance(x, torch.Tensor)]
        self.size = max([self.size, *(x.untyped_storage().nbytes() for x in made)])
        return result


@pytest.mark.parametrize("arithmetic", ["rounded", "kernel"])
@pytest.mark.parametrize(
    "options", [{}, {"is_causal": False}, {"sliding_window_size": 64}], ids=str
)
def test_a_prompt_of_attention_asks_for_no_square_of_its_length(
    device, monkeypatch, arithmetic, options
):
    """A prompt of 131,072 positions would ask for 64 GiB of scores."""
    monkeypatch.setattr(rounded_attention, "SCORES_AT_ONCE", 32 * 1024)
    x = on_tiles(device, bf16_normal(1, 1, 1024, 32))
    with ttnn_emulator.arithmetic_settings(arithmetic), Largest() as largest:
        sdpa(x, x, x, **options)
    assert largest.size < 1024 * 1024  # bytes, a quarter of the float32 scores


@pytest.mark.parametrize("scale", [0.5, 0.01])
def test_the_scale_that_is_given_is_used(device, scale):
    q, k, v = qkv(*PROMPTS[0])
    expected = eager(q, k, v, causal(64), scale=scale)
    assert relative_l2(expected, run(sdpa, device, q, k, v, scale=scale)) <= ROUNDED_ONCE


@pytest.mark.parametrize("shape", PROMPTS, ids=str)
def test_without_a_causal_mask_every_key_is_seen_and_no_padding(device, shape):
    q, k, v = qkv(*shape)
    k_tiles = fill_padding(7.0, on_tiles(device, k))
    v_tiles = fill_padding(7.0, on_tiles(device, v))
    out = ttnn.to_torch(sdpa(on_tiles(device, q), k_tiles, v_tiles, is_causal=False)).float()
    assert relative_l2(eager(q, k, v), out) <= ROUNDED_ONCE


def test_a_mask_is_added_to_the_scaled_scores(device):
    q, k, v = qkv(2, 4, 2, 64, 64)
    for shape in [(1, 1, 64, 64), (2, 1, 64, 64), (2, 4, 64, 64)]:
        mask = bf16_normal(*shape, scale=3.0)
        out = run(sdpa, device, q, k, v, attn_mask=on_tiles(device, mask), is_causal=False)
        assert relative_l2(eager(q, k, v, bias=mask), out) <= ROUNDED_ONCE, shape


def test_a_masks_own_padding_decides_whether_padding_keys_are_seen(device):
    q, k, v = qkv(1, 2, 2, 37, 64)
    for padding, visible in ((-torch.inf, 37), (0.0, 64)):
        mask = fill_padding(padding, on_tiles(device, torch.zeros(1, 1, 37, 37)))
        out = run(sdpa, device, q, k, v, attn_mask=mask, is_causal=False)
        keys, values = (torch.nn.functional.pad(t, (0, 0, 0, visible - 37)) for t in (k, v))
        assert relative_l2(eager(q, keys, values), out) <= ROUNDED_ONCE, padding


@pytest.mark.parametrize("is_causal", [True, False], ids=["causal", "centred"])
@pytest.mark.parametrize("window", [1, 20, 32, 50])
def test_a_sliding_window_hides_keys_further_away(device, window, is_causal):
    q, k, v = qkv(1, 2, 1, 96, 64)
    distance = torch.arange(96)[:, None] - torch.arange(96)
    visible = (distance >= 0) & (distance < window) if is_causal else distance.abs() <= window // 2
    out = run(sdpa, device, q, k, v, is_causal=is_causal, sliding_window_size=window)
    assert relative_l2(eager(q, k, v, visible), out) <= ROUNDED_ONCE


def test_a_sink_takes_its_share_of_every_query(device):
    (q, k, v), sink = qkv(1, 4, 2, 64, 64), bf16_normal(4, scale=8.0)
    out = run(sdpa, device, q, k, v, attention_sink=on_tiles(device, sink.reshape(1, 4, 1, 1)))
    scores = (q @ k.repeat_interleave(2, 1).mT / 8).masked_fill(~causal(64), -torch.inf)
    sinks = (sink / 8).reshape(1, 4, 1, 1).expand(1, 4, 64, 1)  # scaled like a score
    weights = torch.cat((scores, sinks), -1).softmax(-1)[..., :-1]
    assert relative_l2(weights @ v.repeat_interleave(2, 1), out) <= ROUNDED_ONCE


def test_heads_are_joined_on_request(device):
    q, k, v = qkv(*PROMPTS[1])
    joined = run(sdpa, device, q, k, v, output_concat_heads=True)
    apart = run(sdpa, device, q, k, v)
    assert torch.equal(joined, apart.transpose(1, 2).flatten(2)[:, None])


def test_values_in_padding_never_reach_a_result_and_keys_that_are_not_finite_do(device):
    q, k, v = qkv(1, 2, 1, 37, 64)
    clean = run(sdpa, device, q, k, v)
    for name, spoilt in {"q": False, "v": False, "k": True}.items():
        tensors = {"q": q, "k": k, "v": v}
        tensors = {n: on_tiles(device, t) for n, t in tensors.items()}
        fill_padding(float("nan"), tensors[name])
        out = ttnn.to_torch(sdpa(*tensors.values())).float()
        assert torch.equal(out, clean) is not spoilt, name


@pytest.mark.parametrize(
    ("heads", "kv_heads", "sharded"), [(4, 4, True), (8, 2, False), (8, 2, True), (32, 32, True)]
)
def test_every_user_decodes_at_its_own_position(device, heads, kv_heads, sharded):
    positions = [0, 31, 32, 95]
    q, k, v = (
        bf16_normal(1, 4, heads, 96),
        bf16_normal(4, kv_heads, 96, 96),
        bf16_normal(4, kv_heads, 96, 96),
    )
    query = (on_cores if sharded else on_tiles)(device, q)
    keys, values = on_tiles(device, k), on_tiles(device, v)
    from_list = sdpa_decode(query, keys, values, cur_pos=positions)
    as_tensor = sdpa_decode(
        query, keys, values, cur_pos_tensor=in_rows(device, torch.tensor(positions))
    )
    assert torch.equal(ttnn.to_torch(from_list), ttnn.to_torch(as_tensor))
    for user, position in enumerate(positions):
        live = slice(0, position + 1)
        expected = eager(
            q[:, user, :, None], k[user : user + 1, :, live], v[user : user + 1, :, live]
        )
        actual = ttnn.to_torch(from_list).float()[:, user]
        assert relative_l2(expected[:, :, 0], actual) <= ROUNDED_ONCE, position


def test_decode_of_heads_that_are_no_whole_tiles_scales_by_their_padded_width(device):
    """For heads of 80 columns TTNN's default scale is that of 96: observed in its programs."""
    query, key, value = (bf16_normal(*shape) for shape in ((1, 1, 4, 80), *[(1, 4, 64, 80)] * 2))
    tensors = [on_tiles(device, x) for x in (query, key, value)]
    attend = ttnn.transformer.scaled_dot_product_attention_decode
    default = ttnn.to_torch(attend(*tensors, cur_pos=[40]))
    padded = ttnn.to_torch(attend(*tensors, cur_pos=[40], scale=96**-0.5))
    own = ttnn.to_torch(attend(*tensors, cur_pos=[40], scale=80**-0.5))
    assert torch.equal(padded, default)
    # The scales are 10 % apart; 0.08 to 0.11 over five seeds, 29 November 2026.
    assert relative_l2(own, default) > 0.02
    scores = (query.transpose(1, 2).float() @ key[:, :, :41].float().mT) * 96**-0.5
    expected = (scores.softmax(-1) @ value[:, :, :41].float()).transpose(1, 2)
    assert relative_l2(expected, default[:, :, :4, :80]) < bf16_relative_l2(2)


def test_decode_continues_prefill(device):
    q, k, v = qkv(1, 8, 2, 64, 96)
    whole = run(sdpa, device, q, k, v)
    for position in (0, 32, 63):
        query = q[:, :, position][None]
        step = run(sdpa_decode, device, query, k, v, cur_pos=[position])
        # sums of another length may round the other way
        assert relative_l2(whole[:, :, position], step[0]) <= ROUNDED_ONCE


def test_nothing_beyond_the_position_is_read(device):
    q, k, v = bf16_normal(1, 2, 4, 64), bf16_normal(2, 2, 64, 64), bf16_normal(2, 2, 64, 64)
    clean = run(sdpa_decode, device, q, k, v, cur_pos=[20, 40])
    for cache in (k, v):
        cache[0, :, 21:], cache[1, :, 41:] = torch.nan, torch.nan
    assert torch.equal(run(sdpa_decode, device, q, k, v, cur_pos=[20, 40]), clean)


def test_a_skipped_users_result_and_padding_heads_are_undefined(device):
    q, k, v = bf16_normal(1, 3, 4, 64), bf16_normal(3, 2, 64, 64), bf16_normal(3, 2, 64, 64)
    positions = in_rows(device, torch.tensor([5, -1, 6]))
    out = sdpa_decode(*(on_tiles(device, t) for t in (q, k, v)), cur_pos_tensor=positions)
    result = ttnn.to_torch(out)
    assert result[:, 1].isnan().all()
    assert result[:, [0, 2]].isfinite().all()
    assert contents(out)[:, :, 4:].isnan().all()


def test_decode_with_a_mask_sees_the_whole_cache(device):
    q, k, v = bf16_normal(1, 2, 4, 64), bf16_normal(2, 2, 64, 64), bf16_normal(2, 2, 64, 64)
    mask = bf16_normal(2, 1, 4, 64, scale=20.0)
    out = run(sdpa_decode, device, q, k, v, is_causal=False, attn_mask=on_tiles(device, mask))
    # the kernel adds the mask before it scales
    bias = mask.transpose(1, 2) * 64**-0.5
    expected = eager(q[0, :, :, None], k, v, bias=bias)[:, :, 0]
    assert relative_l2(expected, out[0]) <= ROUNDED_ONCE


def test_a_decode_mask_with_users_in_the_second_dimension_is_refused(device):
    q, k, v = bf16_normal(1, 2, 4, 64), bf16_normal(2, 2, 64, 64), bf16_normal(2, 2, 64, 64)
    mask = on_tiles(device, bf16_normal(1, 2, 4, 64))
    with pytest.raises(NotEmulated, match=r"\[B, 1, N, C\]"):
        run(sdpa_decode, device, q, k, v, is_causal=False, attn_mask=mask)


def test_a_sink_takes_its_share_in_decode(device):
    q, k, v = bf16_normal(1, 1, 4, 64), bf16_normal(1, 2, 64, 64), bf16_normal(1, 2, 64, 64)
    sink = bf16_normal(4, 32, scale=8.0)  # the first column counts
    out = run(sdpa_decode, device, q, k, v, cur_pos=[40], attention_sink=on_tiles(device, sink))
    keys, values = (t[0, :, :41].repeat_interleave(2, 0) for t in (k, v))  # [N, T, D]
    scores = q[0, 0, :, None] @ keys.mT
    weights = (torch.cat((scores, sink[:, :1, None]), -1) / 8).softmax(-1)[..., :-1]
    assert relative_l2((weights @ values)[:, 0], out[0, 0]) <= ROUNDED_ONCE


def test_a_decode_sink_of_fewer_heads_goes_on_with_its_padding(device):
    q, k, v = bf16_normal(1, 1, 4, 64), bf16_normal(1, 2, 64, 64), bf16_normal(1, 2, 64, 64)
    sink = bf16_normal(2, 32, scale=8.0)
    short, padded = (
        run(sdpa_decode, device, q, k, v, cur_pos=[40], attention_sink=on_tiles(device, s))
        for s in (sink, torch.cat((sink, torch.zeros(2, 32))))
    )
    assert torch.equal(short, padded)


def test_a_decode_window_is_the_last_rows(device):
    q, k, v = bf16_normal(1, 1, 4, 64), bf16_normal(1, 2, 96, 64), bf16_normal(1, 2, 96, 64)
    out = run(sdpa_decode, device, q, k, v, cur_pos=[70], sliding_window_size=32)
    expected = eager(q[:, 0, :, None], k[:, :, 39:71], v[:, :, 39:71])[:, :, 0]
    assert relative_l2(expected, out[0]) <= ROUNDED_ONCE


def test_a_shared_cache_is_refused_because_its_output_has_one_user(device):
    q, k, v = bf16_normal(1, 3, 4, 64), bf16_normal(1, 2, 64, 64), bf16_normal(1, 2, 64, 64)
    with pytest.raises(NotEmulated, match="of 3 users: TTNN plans an output for 1"):
        run(sdpa_decode, device, q, k, v, cur_pos=[5, 40, 5], share_cache=True)


def paged(device, sequence, table, pages):
    """A cache [P, K, 32, D] of sequences [B, K, T, D] at the pages of `table` [B, T / 32]."""
    cache = bf16_normal(pages, sequence.shape[1], 32, sequence.shape[-1])
    for user, row in enumerate(table):
        for i, page in enumerate(row):
            cache[page] = sequence[user, :, 32 * i : 32 * (i + 1)]
    return on_tiles(device, cache)


@pytest.mark.parametrize("positions", [[40, 95], [70, 70]], ids=["apart", "together"])
@pytest.mark.parametrize(
    "table", [[[7, 0, 3], [2, 5, 1]], [[1, 2, 3], [4, 5, 6]]], ids=["scattered", "neighbours"]
)
def test_pages_hold_what_a_contiguous_cache_does(device, table, positions):
    table = torch.tensor(table)
    q, k, v = bf16_normal(1, 2, 4, 64), bf16_normal(2, 2, 96, 64), bf16_normal(2, 2, 96, 64)
    out = ttnn.transformer.paged_scaled_dot_product_attention_decode(
        on_tiles(device, q),
        *(paged(device, t, table, pages=8) for t in (k, v)),
        in_rows(device, table),
        cur_pos_tensor=in_rows(device, torch.tensor(positions)),
    )
    contiguous = run(sdpa_decode, device, q, k, v, cur_pos=positions)
    assert torch.equal(ttnn.to_torch(out).float(), contiguous)


@pytest.mark.parametrize("as_tensor", [False, True], ids=["number", "tensor"])
def test_a_chunk_of_a_prompt_is_its_part_of_the_whole(device, as_tensor):
    table = torch.tensor([[6, 1, 4, 0, 2, 3, 5, 7]])  # with a tensor, a multiple of 32 bytes
    q, k, v = qkv(1, 4, 2, 96, 64)
    start = in_rows(device, torch.tensor([32]))
    out = ttnn.transformer.chunked_scaled_dot_product_attention(
        on_tiles(device, q[:, :, 32:64]),
        *(paged(device, t, table[:, :3], pages=8) for t in (k, v)),
        in_rows(device, table),
        **{"chunk_start_idx_tensor": start} if as_tensor else {"chunk_start_idx": 32},
        program_config=ttnn.SDPAProgramConfig(
            compute_with_storage_grid_size=(8, 8), q_chunk_size=32, k_chunk_size=32
        ),
    )
    whole = run(sdpa, device, q, k, v)[:, :, 32:64]
    assert relative_l2(whole, ttnn.to_torch(out).float()) <= ROUNDED_ONCE
