"""Inputs of the layers as Hugging Face's own forward pass hands them on, and the comparison."""

import types

import pytest
import torch
import ttnn

from model.cache import page_table
from model.config import TILE, ModelConfig
from model.phi3 import Chunk, Step, ints
from model.precision import PRECISIONS
from model.rope import RotaryEmbedding
from model.weights import DeviceWeights
from verify import metrics, tolerance

CACHE_LENGTH = 256


@pytest.fixture(scope="session")
def config(hf_model):
    return ModelConfig.from_hf(hf_model.config)


@pytest.fixture(scope="session")
def weights(hf_model, device):
    return DeviceWeights(hf_model.state_dict(), device)


@pytest.fixture(scope="session")
def precision():
    return PRECISIONS["accuracy"]


@pytest.fixture(scope="session")
def hidden_states(hf_model, prompt_ids):
    """Per layer its input, [1, 256, H] float32 of bf16 values, on text."""
    ids = prompt_ids.repeat(1, -(-CACHE_LENGTH // prompt_ids.shape[1]))[:, :CACHE_LENGTH]
    with torch.no_grad():
        states = hf_model.model(ids, output_hidden_states=True).hidden_states
    return [state.bfloat16().float() for state in states]


@pytest.fixture(scope="session")
def rope(config, device):
    return rope_of(config, device)


@pytest.fixture(scope="session")
def chunk(rope, device):
    return chunk_of(rope, device)


@pytest.fixture(scope="session")
def step(rope, device):
    return step_of(rope, device)


def rope_of(config, device):
    return RotaryEmbedding(config.rope, config.head_dim, 1, CACHE_LENGTH, device)


def chunk_of(rope, device):
    """seq_len -> where a prompt of that length stands, filled up to whole tiles."""

    def at(seq_len):
        rows = -(-seq_len // TILE) * TILE
        return Chunk.at(0, rows, False, rope, page_table(1, CACHE_LENGTH)[0], device)

    return at


def step_of(rope, device):
    """position -> where a decode step of one sequence stands."""

    def at(position):
        rows = ints([[position]] * 2, ttnn.uint32, device)
        pages = ints(page_table(1, CACHE_LENGTH), device=device)
        return Step(rope.decode_rows(rows), ints([position], device=device), pages)

    return at


@pytest.fixture(scope="session")
def hf_positions(hf_model):
    """seq_len -> what Hugging Face's attention wants: cos and sin, and the causal mask."""

    def positions(seq_len):
        ids = torch.arange(seq_len)[None]
        mask = torch.full((seq_len, seq_len), float("-inf")).triu(1)
        cos_sin = hf_model.model.rotary_emb(torch.zeros(1), ids)
        return types.SimpleNamespace(position_embeddings=cos_sin, attention_mask=mask[None, None])

    return positions


def on_device(x, device):
    """[1, S, H] -> bf16 [1, 1, S, H] on the device, S filled with zero rows up to whole tiles."""
    padded = torch.nn.functional.pad(x, (0, 0, 0, -x.shape[1] % TILE))
    return ttnn.from_torch(
        padded[None], dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=device
    )


def on_device_row(x, device):
    """[1, 1, H] -> bf16 [1, 1, 1, H] on the device, a decode step's input."""
    return ttnn.from_torch(
        x[None],
        dtype=ttnn.bfloat16,
        layout=ttnn.TILE_LAYOUT,
        device=device,
        memory_config=ttnn.L1_MEMORY_CONFIG,
    )


def on_host(y, seq_len):
    """[1, 1, S padded, H] on the device -> [1, S, H] float32."""
    return ttnn.to_torch(y)[0, :, :seq_len].float()


def check(expected, actual, limit):
    """Fail unless `actual` is `expected` up to relative L2 `limit`, as a whole and in each row.

    A row's share of the error varies; four times the whole's bound still catches a wrong row,
    whose error is as large as the row.
    """
    comparison = metrics.compare(expected, actual)
    assert not comparison.nonfinite_actual, comparison
    assert comparison.relative_l2 <= limit, f"{comparison}; relative L2 may be {limit:.3g}"
    assert comparison.pcc >= tolerance.pcc_floor(limit), comparison
    rows = (actual - expected).norm(dim=-1) / expected.norm(dim=-1)
    worst = int(rows.argmax())
    assert rows.max() <= 4 * limit, (
        f"row {worst} is off by {rows.max():.3g} of itself; {comparison}"
    )
