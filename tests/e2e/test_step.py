"""What the optimized stage's decode step is: one program, to which only tokens are sent."""

import pytest
import torch
import ttnn

import model.optimized.phi3
from model.optimized.build import MAX_BATCH
from model.sequences import SKIP
from ttnn_verify.numerics import metrics

pytestmark = pytest.mark.parametrize("stage", ["optimized"], indirect=True)


@pytest.fixture(scope="module")
def batched(build):
    """A model of four rows."""
    return build(512, batch=4)


@pytest.mark.parametrize("rows", [1, 3, MAX_BATCH], ids="rows{}".format)
def test_the_last_positions_are_within_what_operands_hold(build, prompt_ids, rows):
    """A step by operations, a trace captured, and executed; the other rows are idle.

    The emulated device refuses a position that no operand holds.
    """
    model = build(256, batch=rows, trace=True)
    ids = prompt_ids.repeat(1, 2)[:, :256]
    output = model(ids[:, :-4], logits_to_keep=1)
    for column in ids[:, -4:].T:
        output = model(column[:, None], past_key_values=output.past_key_values)
    assert output.logits.isfinite().all()


def test_a_prompt_in_chunks_is_as_in_one(batched, prompt_ids, hf_model, logits_limit, monkeypatch):
    ids = prompt_ids.repeat(1, 3)[:, :256]
    monkeypatch.setattr(model.optimized.phi3, "CHUNK", 128)
    with torch.no_grad():
        expected = hf_model(ids[:, :250]).logits
    assert metrics.relative_l2(expected, batched(ids[:, :250]).logits.float()) <= logits_limit


def test_a_second_step_compiles_nothing(batched, device, prompt_ids):
    """Whatever the rows and positions are, a decode step is one program."""
    past = batched(prompt_ids[:, :31]).past_key_values
    batched(prompt_ids[:, 31:32], past_key_values=past)
    programs = device.num_program_cache_entries()
    for i in range(32, 35):
        batched(prompt_ids[:, i : i + 1], past_key_values=past)
    batched(prompt_ids[:2, :1].expand(2, 1))
    assert device.num_program_cache_entries() == programs


def test_a_step_sends_nothing_but_the_tokens(batched, prompt_ids, monkeypatch):
    sent, send = [], ttnn.copy_host_to_device_tensor
    past = batched(prompt_ids[:, :31]).past_key_values
    batched(prompt_ids[:, 31:32], past_key_values=past)

    def recorded(host, to, *args, **kwargs):
        sent.append(tuple(host.shape))
        return send(host, to, *args, **kwargs)

    monkeypatch.setattr(ttnn, "copy_host_to_device_tensor", recorded)
    monkeypatch.setattr(ttnn, "to_device", lambda *args: pytest.fail("another tensor was sent"))
    batched(prompt_ids[:, 32:33], past_key_values=past)
    assert sent == [(1, 4)]


def test_the_device_counts_positions_as_the_host(batched, prompt_ids):
    mask = torch.ones(3, 40)
    mask[1, :7] = mask[2, :33] = 0
    past = batched(prompt_ids[:, :40].expand(3, 40), attention_mask=mask).past_key_values
    for _ in range(2):
        batched(prompt_ids[:, :1].expand(3, 1), past_key_values=past)
    expected = [42, 35, 9, SKIP]
    assert ttnn.to_torch(batched.model.state.positions).tolist() == expected


def test_a_layer_takes_sixteen_operations_in_a_step(batched, prompt_ids):
    """Of the device: calls that TTNN's graph shows to run a program."""
    past = batched(prompt_ids[:, :31]).past_key_values

    def programs():
        ttnn.graph.begin_graph_capture(ttnn.graph.RunMode.NORMAL)
        batched(prompt_ids[:, 31:32], past_key_values=past)
        graph = ttnn.graph.end_graph_capture()
        return sum(node["node_type"] == "program_execution" for node in graph)

    whole, layers = programs(), batched.model.layers
    batched.model.layers = layers[:-1]
    try:
        assert whole - programs() == 16
    finally:
        batched.model.layers = layers
