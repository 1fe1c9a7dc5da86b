"""What the functional stage promises by itself: its operations, its cache, its rope factors."""

import types

import pytest
import torch
import ttnn

from model.functional import MAX_CACHE_SEQ_LEN, PlainLayer
from tests.support.checkpoint import ROOT
from tests.support.tensors import on_tiles
from ttnn_verify.drift.observation import taps

pytestmark = pytest.mark.parametrize("stage", ["functional"], indirect=True)

MOST_OPERATIONS = 30  # of the device, in a layer
MOST_LINES = 300

# What every first bring-up uses, and a reader should find.
PLAIN = {
    "embedding",
    "linear",
    "rms_norm",
    "experimental.rotary_embedding",
    "transformer.scaled_dot_product_attention",
    "transformer.scaled_dot_product_attention_decode",
    "fill_cache",
    "experimental.paged_update_cache",
}


def test_the_plain_operations_run_and_the_file_is_short(tt_model, prompt_ids):
    names = set()

    def observe(call, run):
        names.add(call.name.removeprefix("ttnn."))
        return run()

    with taps.intercept(observe):
        past = tt_model(prompt_ids[:, :33]).past_key_values
        tt_model(prompt_ids[:, 33:34], past_key_values=past)
    assert names >= PLAIN
    heads = [name for name in names if name.startswith("experimental.nlp_")]
    assert len(heads) == 3  # split in prefill and in decode, joined in prefill
    text = (ROOT / "model/functional.py").read_text()
    assert all(f"ttnn.{name}(" in text for name in PLAIN)
    assert len(text.splitlines()) <= MOST_LINES


@pytest.mark.parametrize("tokens", [33, 1], ids=["prefill", "decode"])
def test_a_layer_takes_few_operations(tt_model, prompt_ids, tokens):
    """Of the device: programs that TTNN's graph shows to run."""

    def programs():
        past = None if tokens > 1 else tt_model(prompt_ids[:, :31]).past_key_values
        ttnn.graph.begin_graph_capture(ttnn.graph.RunMode.NORMAL)
        tt_model(prompt_ids[:, 31 : 31 + tokens], past_key_values=past)
        graph = ttnn.graph.end_graph_capture()
        return sum(node["node_type"] == "program_execution" for node in graph)

    programs()  # compiles
    whole, layers = programs(), tt_model.model.layers
    tt_model.model.layers = layers[:-1]
    try:
        assert 0 < whole - programs() <= MOST_OPERATIONS
    finally:
        tt_model.model.layers = layers


@pytest.mark.parametrize("heads", [1, 2, 3, 5, 8, 12, 32, 40, 64, 65], ids="heads{}".format)
@pytest.mark.parametrize("tiles", [1, 2, 3, 5, 7, 8], ids="tiles{}".format)
def test_keys_fit_a_core_grid_whatever_their_heads(heads, tiles, stage):
    grid = types.SimpleNamespace(x=8, y=8)
    layer = types.SimpleNamespace(n_kv_heads=heads, grid=grid)
    cores = PlainLayer._prefill_cores(layer, 32 * tiles)
    assert (cores == 0) == (heads > 64)
    if not cores:
        return
    assert cores <= 64
    assert tiles * heads % cores == 0  # equal shards,
    assert cores % heads == 0  # of which none spans two heads


def test_more_heads_than_cores_are_filled_from_dram(device, stage):
    cache = ttnn.zeros((2, 65, 64, 32), ttnn.bfloat16, ttnn.TILE_LAYOUT, device)
    x = on_tiles(device, torch.randn(1, 65, 32, 32))
    ttnn.fill_cache(cache, ttnn.to_memory_config(x, ttnn.DRAM_MEMORY_CONFIG), batch_idx=1)
    assert torch.equal(ttnn.to_torch(cache)[1:, :, :32], ttnn.to_torch(x))


def test_more_positions_than_the_cache_has_are_refused(build, hf_model, device, prompt_ids):
    model = build(4 * MAX_CACHE_SEQ_LEN)
    assert model.max_length == MAX_CACHE_SEQ_LEN
    with pytest.raises(ValueError, match=r"257.*256"):
        model(prompt_ids.repeat(1, 2)[:, :257])
    with pytest.raises(ValueError, match="max_seq_len is 0"):
        build(0)


def test_a_sequences_length_chooses_the_rope_factors(tt_model, stage):
    """Beyond `original_max_position_embeddings` the long ones, for all of its positions."""
    plain = tt_model.model
    short, at, beyond = (
        [ttnn.to_torch(table)[plain.table_row(7, known)] for table in plain.tables]
        for known in (8, plain.short, plain.short + 1)
    )
    for one, same, other in zip(short, at, beyond, strict=True):
        assert torch.equal(one, same)
        assert not torch.equal(one, other)
