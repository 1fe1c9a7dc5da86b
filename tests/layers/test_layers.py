"""Each part of a decoder layer, fed with Hugging Face's own input, against the same HF module."""

import pytest
import torch

from model.cache import KVCache
from model.phi3 import MLP, Attention, DecoderLayer, RMSNorm
from verify import tolerance

from .conftest import CACHE_LENGTH, check, on_device, on_device_row, on_host

LENGTHS = [1, 31, 32, 33, 64, 127, 155, 256]
POSITIONS = [0, 1, 31, 32, 33, 127, 255]
LAYERS = [0, 3]


def hf_layer(hf_model, i):
    return hf_model.model.layers[i]


@pytest.fixture
def attention(config, weights, rope, precision, device):
    """layer number -> our attention of that layer with an empty cache."""

    def build(i):
        cache = KVCache(config, 1, CACHE_LENGTH, precision.cache, device)
        return Attention(config, weights, f"model.layers.{i}.self_attn.", rope, cache, precision)

    return build


@pytest.mark.parametrize("seq_len", LENGTHS)
@pytest.mark.parametrize("i", LAYERS)
def test_rms_norm(i, seq_len, hf_model, weights, config, hidden_states, device):
    x = hidden_states[i][:, :seq_len]
    norm = RMSNorm(weights, f"model.layers.{i}.input_layernorm.weight", config.norm_eps)
    expected = hf_layer(hf_model, i).input_layernorm(x)
    check(
        expected,
        on_host(norm(on_device(x, device)), seq_len),
        tolerance.bf16_relative_l2(tolerance.ROUNDINGS_RMS_NORM),
    )


@pytest.mark.parametrize("seq_len", LENGTHS)
@pytest.mark.parametrize("i", LAYERS)
def test_mlp(i, seq_len, hf_model, weights, precision, hidden_states, device):
    layer = hf_layer(hf_model, i)
    x = layer.post_attention_layernorm(hidden_states[i][:, :seq_len]).bfloat16().float()
    mlp = MLP(weights, f"model.layers.{i}.mlp.", precision)
    check(
        layer.mlp(x),
        on_host(mlp(on_device(x, device)), seq_len),
        tolerance.bf16_relative_l2(tolerance.ROUNDINGS_MLP),
    )


@pytest.mark.parametrize("seq_len", LENGTHS)
@pytest.mark.parametrize("i", LAYERS)
def test_attention_prefill(
    i, seq_len, hf_model, hidden_states, hf_positions, attention, chunk, device
):
    layer = hf_layer(hf_model, i)
    x = layer.input_layernorm(hidden_states[i][:, :seq_len]).bfloat16().float()
    expected, _ = layer.self_attn(x, **vars(hf_positions(seq_len)))
    actual = on_host(attention(i).prefill(on_device(x, device), chunk(seq_len)), seq_len)
    check(expected, actual, tolerance.attention_relative_l2(tolerance.ROUNDINGS_ATTENTION))


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("i", LAYERS)
def test_attention_decode(
    i, position, hf_model, hidden_states, hf_positions, attention, chunk, step, device
):
    """Decode at a position after a prefill of all before it is the last row of one long prefill."""
    layer = hf_layer(hf_model, i)
    x = layer.input_layernorm(hidden_states[i][:, : position + 1]).bfloat16().float()
    expected, _ = layer.self_attn(x, **vars(hf_positions(position + 1)))
    ours = attention(i)
    if position:
        ours.prefill(on_device(x[:, :-1], device), chunk(position))
    token = on_device_row(x[:, -1:], device)
    y = ours.decode(token, step(position))
    check(
        expected[:, -1:],
        on_host(y, 1),
        tolerance.attention_relative_l2(tolerance.ROUNDINGS_ATTENTION),
    )


@pytest.mark.parametrize("seq_len", [1, 33, 155])
@pytest.mark.parametrize("i", LAYERS)
def test_decoder_layer(
    i,
    seq_len,
    hf_model,
    config,
    weights,
    rope,
    precision,
    chunk,
    hidden_states,
    hf_positions,
    device,
):
    x = hidden_states[i][:, :seq_len]
    expected = hf_layer(hf_model, i)(x, **vars(hf_positions(seq_len)))
    cache = KVCache(config, 1, CACHE_LENGTH, precision.cache, device)
    layer = DecoderLayer(config, weights, f"model.layers.{i}.", rope, cache, precision)
    actual = on_host(layer.prefill(on_device(x, device), chunk(seq_len)), seq_len)
    check(expected, actual, tolerance.bf16_relative_l2(tolerance.ROUNDINGS_DECODER_LAYER))


@pytest.mark.parametrize("seq_len", [33, 155])
def test_filling_rows_never_reach_a_result(seq_len, hidden_states, attention, chunk, device):
    x = hidden_states[0][:, :seq_len]
    clean = attention(0).prefill(on_device(x, device), chunk(seq_len))
    filled = torch.nn.functional.pad(x, (0, 0, 0, -seq_len % 32), value=100.0)
    dirty = attention(0).prefill(on_device(filled, device), chunk(seq_len))
    assert torch.equal(on_host(clean, seq_len), on_host(dirty, seq_len))
