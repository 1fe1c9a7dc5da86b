"""The table itself: complete, its ids unique and readable, no case that is the same as another."""

import re

import pytest
import torch

from model.optimized import build_model
from ttnn_emulator.ops import BINDINGS, FAMILY_OF
from ttnn_verify.drift.observation import taps

from .table import OPS, calls

ID = re.compile(
    r"[a-z][a-z0-9_]*"  # op
    r"-(bf16|fp32|bfp8|bfp4|u16|u32|i32)"
    r"-\d+(x\d+)*"  # shape
    r"-(dram|l1|height|width|block)"
    r"(-[a-z0-9_.x-]+)?"  # what is particular
)

# What a model calls that no program on the device computes: transfers, and a view of another rank.
HOST = {"as_tensor", "copy_host_to_device_tensor", "from_torch", "to_device", "to_torch"}
VIEWS = {"unsqueeze_to_4D"}

# Families of several chips, which tests/mesh tests on meshes of them.
OF_CHIPS = {"chip_sums", "collectives", "distributed_norms", "fused_collectives"}
# Emulated operations without an entry -> why.
WITHOUT_ENTRY: dict[str, str] = {}


def test_ids_are_readable_and_none_stands_for_two_calls():
    ids = [f"{op.name}-{sample.id}" for op, sample in calls("samples") + calls("references")]
    assert [id for id in ids if not ID.fullmatch(id)] == []
    assert sorted({id for id in ids if ids.count(id) > 1}) == []


@pytest.mark.parametrize("op", OPS.values(), ids=lambda op: op.name)
def test_every_op_has_sample_reference_and_error_inputs(op):
    assert op.samples
    assert op.references
    assert op.errors


@pytest.fixture(scope="module")
def called(hf_model, device):
    """Names of the operations that the model calls in a prompt and in a decode step."""
    model = build_model(hf_model, device, 64)
    ids = torch.arange(3, 3 + 34)[None]
    names = {"prompt": set(), "step": set()}

    def observe(call, run):
        names[phase].add(call.name.rpartition(".")[2])
        return run()

    with taps.intercept(observe):
        phase = "prompt"
        past = model(ids[:, :33]).past_key_values
        phase = "step"
        model(ids[:, 33:], past_key_values=past)
    return {phase: seen - HOST - VIEWS for phase, seen in names.items()}


@pytest.mark.parametrize("phase", ["prompt", "step"])
def test_every_op_on_the_models_way_is_there(phase, called):
    assert called[phase], "no call was seen"
    assert sorted(called[phase] - OPS.keys()) == []


def test_every_emulated_operation_has_an_entry():
    entries = {op.operation for op in OPS.values()}
    of_chips = {name for name in BINDINGS if FAMILY_OF[name] in OF_CHIPS}
    alone = {name.rpartition(".")[2] for name in BINDINGS if name not in of_chips}
    assert of_chips, "no family of several chips is known by these names"
    assert {FAMILY_OF[name] for name in of_chips} == OF_CHIPS
    assert sorted(alone - entries - WITHOUT_ENTRY.keys()) == []
    assert sorted(WITHOUT_ENTRY.keys() & entries) == [], "these have an entry by now"
    assert sorted(WITHOUT_ENTRY.keys() - alone) == [], "these are not emulated"
