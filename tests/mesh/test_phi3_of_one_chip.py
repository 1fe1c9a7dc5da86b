"""One implementation: a mesh of one chip has the single chip's bits, by the same operations."""

import contextlib

import pytest
import torch
import ttnn

import ttnn_emulator
from model import functional, optimized
from tests.support.checkpoint import CACHE_LENGTH, STAGES

BUILDS = {"functional": functional.build_model, "optimized": optimized.build_model}
TOKENS = 40


@contextlib.contextmanager
def calls_of(names):
    """Within, the names of TTNN's device operations are appended, in the order of their calls."""
    ttnn.graph.begin_graph_capture(ttnn.graph.RunMode.NORMAL)
    try:
        yield
    finally:
        for node in ttnn.graph.end_graph_capture():
            name = (node["params"] or {}).get("name", "")
            if node["node_type"] == "function_start" and name.endswith("Operation"):
                names.append(name)


def run(stage, device, hf_model, ids):
    """Logits of a prompt and a token after it, and the operations that computed them."""
    model, names = BUILDS[stage](hf_model, device, CACHE_LENGTH), []
    with calls_of(names):
        prompt = model(ids[:, :-1])
        step = model(ids[:, -1:], past_key_values=prompt.past_key_values)
    return torch.cat((prompt.logits, step.logits), dim=1), names


@pytest.mark.parametrize("stage", STAGES)
def test_a_mesh_of_one_chip_is_the_single_device(stage, opened, hf_model, prompt_ids):
    ids = prompt_ids[:, :TOKENS]
    with opened((1, 1)) as mesh:
        of_mesh, calls_on_mesh = run(stage, mesh, hf_model, ids)
        assert mesh.get_num_devices() == 1
    with ttnn_emulator.open_device(system="t3000", arithmetic="rounded") as device:
        of_chip, calls_on_chip = run(stage, device, hf_model, ids)
    assert torch.equal(of_mesh, of_chip)
    assert calls_on_mesh == calls_on_chip
    assert not [name for name in calls_on_chip if "Gather" in name or "ReduceScatter" in name]


@pytest.mark.parametrize("stage", STAGES)
def test_chips_in_rows_and_columns_are_refused(stage, opened, hf_model):
    with opened((2, 4)) as mesh, pytest.raises(ValueError, match=r"2 rows and 4 columns.* 1 and 8"):
        BUILDS[stage](hf_model, mesh, CACHE_LENGTH)
