"""What a fault is injected with: that it reaches the operation it is meant for, and only that."""

import pytest
import torch
import ttnn

import ttnn_emulator
from model.optimized import phi3

from .inject import arithmetic, calls, kernels, result


def twice(value):
    return 2 * value


def on_device(values, device):
    return ttnn.from_torch(values, dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=device)


def test_a_replaced_kernel_computes_for_its_operation_alone(device):
    x = on_device(torch.ones(32, 32), device)
    with kernels("ttnn.relu", result(twice))():
        assert ttnn.to_torch(ttnn.relu(x)).eq(2).all()
        assert ttnn.to_torch(ttnn.abs(x)).eq(1).all()
    assert ttnn.to_torch(ttnn.relu(x)).eq(1).all()


def test_a_replaced_kernel_keeps_the_host_side(device):
    x, wide = (on_device(torch.ones(32, width), device) for width in (32, 64))
    with (
        kernels("ttnn.add", result(twice))(),
        pytest.raises(RuntimeError, match="roadcast"),
    ):
        ttnn.add(x, wide)


def test_a_kernel_in_comparison_mode_is_the_replaced_one(device):
    x = on_device(torch.ones(32, 32), device)
    with ttnn.manage_config("enable_fast_runtime_mode", False):
        assert ttnn.to_torch(ttnn.relu(x)).eq(1).all()
        with kernels("ttnn.relu", result(twice))():
            assert ttnn.to_torch(ttnn.relu(x)).eq(2).all()
        assert ttnn.to_torch(ttnn.relu(x)).eq(1).all()


def test_changed_arithmetic_is_one_operations_own(device):
    x = on_device(torch.ones(32, 32), device)
    with kernels("ttnn.relu", arithmetic("unary", result(twice)))():
        assert ttnn.to_torch(ttnn.relu(x)).eq(2).all()
        assert ttnn.to_torch(ttnn.abs(x)).eq(1).all()


def test_a_changed_call_is_the_models_alone(device):
    x = on_device(torch.ones(32, 32), device)
    with calls("add", lambda add: ttnn.subtract)():
        assert ttnn.to_torch(phi3.ttnn.add(x, x)).eq(0).all()
        assert ttnn.to_torch(ttnn.add(x, x)).eq(2).all()
    assert phi3.ttnn is ttnn


def test_an_operation_without_a_kernel_cannot_be_replaced(device):
    with pytest.raises(ValueError, match=r"ttnn\.no_such_operation"):
        ttnn_emulator.binding_replaced("ttnn.no_such_operation", twice).__enter__()
