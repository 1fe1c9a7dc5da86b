"""Every op of the table against its golden, twice for the same bits, and its refusals."""

import pytest
import torch
import ttnn

from .checking import check, outputs
from .opinfo import plain
from .placing import on
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
    operands = sample.make()
    first, second = (outputs(op, sample, operands, device) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert torch.equal(bits(a), bits(b))


def bits(tensor):
    return ttnn.to_torch(tensor).contiguous().view(torch.uint8)


@parametrized([(op, error) for op in OPS.values() for error in op.errors], "op, error")
def test_wrong_call_is_refused_and_the_device_goes_on(op, error, device):
    with pytest.raises((RuntimeError, TypeError, ValueError)) as refusal:
        error.call(device)
    assert not isinstance(refusal.value, NotImplementedError), "refused by other than TTNN's checks"
    said = str(refusal.value)
    assert error.says in said, f"{error.says!r} is not in what TTNN says: {said[:400]}"
    x = plain(32, 64).bfloat16()
    assert torch.equal(ttnn.to_torch(ttnn.add(on(device, x), 0.0)), x)
