"""Every op of the table against its golden, twice for the same bits, and its refusals."""

import pytest
import torch
import ttnn

from .op_checks import check, check_repeats
from .operands import on
from .opinfo import plain
from .table import OPS, calls


def parametrized(pairs, names="op, sample"):
    return pytest.mark.parametrize(
        names, [pytest.param(op, case, id=f"{op.name}-{case.id}") for op, case in pairs]
    )


@parametrized(calls("samples"))
def test_small_and_odd_calls(op, sample, device, record_property):
    check(op, sample, device, record_property)


@parametrized(calls("references"))
def test_real_shapes_massive_channels_extreme_values(op, sample, device, record_property):
    check(op, sample, device, record_property)


@parametrized([(op, op.samples[0]) for op in OPS.values()])
def test_same_call_gives_same_bits(op, sample, device):
    check_repeats(op, sample, device)


@parametrized([(op, error) for op in OPS.values() for error in op.errors], "op, error")
def test_wrong_call_is_refused_and_the_device_goes_on(op, error, device):
    with pytest.raises((RuntimeError, TypeError, ValueError)) as refusal:
        error.call(device)
    assert not isinstance(refusal.value, NotImplementedError), "refused by other than TTNN's checks"
    message = str(refusal.value)
    assert error.says in message, f"{error.says!r} is not in what TTNN says: {message[:400]}"
    x = plain(32, 64).bfloat16()
    assert torch.equal(ttnn.to_torch(ttnn.add(on(device, x), 0.0)), x)
