"""Operations that are computed for several chips in one call: each chip has what it had alone."""

import pytest
import torch
import ttnn

import ttnn_emulator
from tests.support import strategies
from tests.support.meshes import error, of_each, on_each
from ttnn_emulator import chips
from ttnn_emulator.ops import BY_BATCH

CHIPS = 8
ACCURATE = ttnn.WormholeComputeKernelConfig(
    math_fidelity=ttnn.MathFidelity.HiFi4, fp32_dest_acc_en=True, packer_l1_acc=True
)


@pytest.fixture(scope="module")
def mesh(opened):
    with opened((1, CHIPS), "kernel") as mesh:
        yield mesh


def different(mesh, *shape, dtype=ttnn.bfloat16, seed=0):
    """A tensor that differs from chip to chip, with rows of idle users that are all alike."""
    values = strategies.normal(seed, CHIPS, *shape)
    values[..., 5:, :] = values[..., -1:, :]
    return on_each(mesh, values, dtype)


def shared(mesh, *shape, seed=1):
    return on_each(mesh, strategies.normal(seed, 1, *shape).expand(CHIPS, *shape), ttnn.bfloat16)


CALLS = {
    "columns": lambda mesh: ttnn.linear(shared(mesh, 1, 32, 96), different(mesh, 96, 40)),
    "rows": lambda mesh: ttnn.linear(
        different(mesh, 1, 1, 32, 64), different(mesh, 64, 96), compute_kernel_config=ACCURATE
    ),
    "bias": lambda mesh: ttnn.linear(
        shared(mesh, 1, 32, 96), different(mesh, 96, 64), bias=different(mesh, 1, 64)
    ),
    "bias of several matrices": lambda mesh: ttnn.linear(
        different(mesh, 2, 32, 96), different(mesh, 2, 96, 64), bias=different(mesh, 1, 64)
    ),
    "activation": lambda mesh: ttnn.linear(
        shared(mesh, 1, 37, 96), different(mesh, 96, 64), activation="silu", dtype=ttnn.bfloat8_b
    ),
    "transposed": lambda mesh: ttnn.matmul(
        different(mesh, 2, 40, 64), different(mesh, 2, 33, 64), transpose_b=True
    ),
    "one row": lambda mesh: ttnn.linear(
        different(mesh, 1, 1, 1, 64), different(mesh, 64, 96, dtype=ttnn.bfloat8_b)
    ),
    "gated": lambda mesh: ttnn.multiply(
        different(mesh, 1, 1, 32, 80),
        different(mesh, 1, 1, 32, 80, seed=2),
        input_tensor_a_activations=[ttnn.UnaryOpType.SILU],
    ),
    "added to all": lambda mesh: ttnn.add(different(mesh, 1, 2, 7, 80), shared(mesh, 1, 1, 7, 80)),
    "a row to each": lambda mesh: ttnn.add(different(mesh, 2, 7, 80), different(mesh, 1, 80)),
    "a number": lambda mesh: ttnn.rsub(different(mesh, 7, 40), 3),
    "into blocks": lambda mesh: ttnn.add(
        different(mesh, 7, 40), different(mesh, 7, 40, seed=2), dtype=ttnn.bfloat8_b
    ),
    "unary": lambda mesh: ttnn.exp(different(mesh, 1, 2, 7, 40)),
    "integers": lambda mesh: ttnn.add(
        on_each(mesh, torch.arange(CHIPS * 64).reshape(CHIPS, 8, 8), ttnn.int32), 3
    ),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_each_chip_has_what_it_had_alone(call, mesh, monkeypatch):
    made = []
    in_one = chips.in_one
    monkeypatch.setattr(chips, "in_one", lambda *args: made.append(in_one(*args)) or made[-1])
    together = of_each(call(mesh))
    assert any(one is not None for one in made)
    monkeypatch.setattr(chips, "FEW", 0)
    alone = of_each(call(mesh))
    assert made[-1] is None
    assert len({chip.float().numpy().tobytes() for chip in alone}) == CHIPS
    for chip, expected in zip(together, alone, strict=True):
        assert torch.equal(chip, expected)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_in_float32_only_the_order_of_sums_differs(call, mesh, monkeypatch):
    """torch's, which depends on what else is in a batch: a rounding more or less."""
    with ttnn_emulator.arithmetic_settings("rounded"):
        together = of_each(call(mesh))
        monkeypatch.setattr(chips, "FEW", 0)
        for chip, expected in zip(together, of_each(call(mesh)), strict=True):
            assert error(chip.float(), expected.float()) < 2.0**-9


def test_padding_is_as_it_was_alone(mesh, monkeypatch):
    """exp of padding is 1, which a sum over rows of whole tiles would see."""

    def padded():
        result = ttnn.exp(different(mesh, 1, 1, 7, 40))
        return [one.to_torch_with_padded_shape() for one in ttnn.get_device_tensors(result)]

    together = padded()
    monkeypatch.setattr(chips, "FEW", 0)
    for chip, expected in zip(together, padded(), strict=True):
        assert torch.equal(chip, expected)


def test_the_operations_that_are_computed_so():
    assert {"ttnn.linear", "ttnn.matmul", "ttnn.multiply", "ttnn.silu"} <= BY_BATCH
