"""Rotary embeddings and gated activations against the recorded kernels, bit for bit."""

import pytest
import torch

from tests.emulator.arithmetic.recorded import assert_same_bits, device_input
from ttnn_emulator.arithmetic.compute import Compute, FusedOp, FusedOps
from ttnn_emulator.arithmetic.exact.eltwise.binary_kernels import binary
from ttnn_emulator.arithmetic.exact.rotations import rotary, rotary_pairs
from ttnn_emulator.fidelity import recordings

HALVES = [case for case in recordings.cases("rotary") if case.op.endswith("rotary_embedding")]
PAIRS = [case for case in recordings.cases("rotary") if case.op.endswith("llama")]


def assert_reproduces_rows(case, actual):
    expected = case.output()
    assert_same_bits(actual[tuple(slice(0, size) for size in expected.shape)], expected)


@pytest.mark.parametrize("case", HALVES, ids=str)
def test_rotation_by_halves_equals_the_recorded_kernel(case):
    x = device_input(case, "a")
    token = case.attributes.get("token_idx")
    rows = slice(0, x.shape[-2]) if token is None else slice(token, token + 1)
    cos, sin = (device_input(case, name)[..., rows, :] for name in ("cos", "sin"))
    assert_reproduces_rows(case, rotary(x, cos, sin))


@pytest.mark.parametrize("width", [32, 128])
def test_low_fidelity_loses_the_lowest_bit_of_what_changes_places(width):
    x = torch.full((1, width), 1.0078125)  # 1 + 2^-7, all 8 bits of a bfloat16
    cos, sin = torch.zeros(width), torch.ones(width)
    halves = [slice(0, width // 2), slice(width // 2, width)]
    exact = rotary(x, cos, sin, compute=Compute("HiFi4"))
    assert_same_bits(exact, rotary(x, cos, sin))
    assert [exact[0, half].unique().item() for half in halves] == [-1.0078125, 1.0078125]
    cut = rotary(x, cos, sin, compute=Compute("LoFi"))
    assert [cut[0, half].unique().item() for half in halves] == [-1.0, 1.0]


@pytest.mark.parametrize("case", HALVES, ids=str)
def test_naming_the_default_settings_changes_nothing(case):
    x = device_input(case, "a")
    cos, sin = (device_input(case, name)[..., : x.shape[-2], :] for name in ("cos", "sin"))
    assert_same_bits(
        rotary(x, cos, sin, compute=Compute("HiFi4")),
        rotary(x, cos, sin),
    )


@pytest.mark.parametrize("case", PAIRS, ids=str)
def test_rotation_by_pairs_equals_the_recorded_kernel(case):
    cos, sin = case.tensor("cos"), case.tensor("sin")
    turn = case.tensor("trans_mat")[0, 0, :32]
    assert_reproduces_rows(case, rotary_pairs(case.tensor("a"), cos, sin, turn))


def test_low_fidelity_loses_the_lowest_bit_of_a_pair():
    turn = torch.zeros(32, 32)
    turn[torch.arange(0, 32, 2) + 1, torch.arange(0, 32, 2)] = -1.0
    turn[torch.arange(0, 32, 2), torch.arange(0, 32, 2) + 1] = 1.0
    x = torch.full((1, 32), 1.0078125)  # 1 + 2^-7, all 8 bits of a bfloat16
    cos, sin = torch.zeros(32), torch.ones(32)
    exact = rotary_pairs(x, cos, sin, turn)
    assert_same_bits(exact[0, :2], torch.tensor([-1.0078125, 1.0078125]))
    cut = rotary_pairs(x, cos, sin, turn, compute=Compute("HiFi2"))
    assert_same_bits(cut[0, :2], torch.tensor([-1.0, 1.0]))


@pytest.mark.parametrize("case", recordings.cases("swiglu"), ids=str)
def test_swiglu_equals_the_recorded_kernel(case):
    """TTNN composes it of slices, silu and a multiplication."""
    value, gate = case.tensor("a").chunk(2, -1)
    product = binary("multiply", value, gate, fused=FusedOps(b=(FusedOp("silu"),)))
    assert_same_bits(product, case.output())
