"""Recorded calls of TTNN's real kernels, called again on the emulated device."""

import torch
import ttnn

LAYOUTS = {"TILE": ttnn.TILE_LAYOUT, "ROW_MAJOR": ttnn.ROW_MAJOR_LAYOUT}


def operands(case, device):
    """name -> ttnn tensor on the device, for each input that was recorded."""
    return {
        name: ttnn.from_torch(
            case.tensor(name),
            dtype=getattr(ttnn, entry["dtype"]),
            layout=LAYOUTS[entry["layout"]],
            device=device,
        )
        for name, entry in case.tensors.items()
        if entry["role"] == "input"
    }


def assert_equal(actual, case):
    """A ttnn tensor is the recorded one bit for bit, padding included where that was recorded."""
    assert torch.equal(_values(actual), case.output())
    if case.tensors["out0"].get("stored") == "padded":
        padded = actual.to_torch_with_padded_shape().to(case.output().dtype)
        assert torch.equal(padded, case.tensor("out0", padded=True))


def assert_nearer(actual, case, exact):
    """The emulated result is at least as near to `exact` (float64) as the real kernel's.

    Rounding the exact result once gives the nearest there is; the thousandth is for float32's own
    rounding, which tips a tie here and there.
    """
    ours, theirs = (
        (values.double() - exact).norm() / exact.norm()
        for values in (_values(actual), case.output())
    )
    assert ours <= theirs * 1.001, f"{case}: relative L2 {ours:.2e}, the kernel's {theirs:.2e}"


def _values(tensor):
    values = ttnn.to_torch(tensor)
    return values.float() if values.dtype.is_floating_point else values.to(torch.int32)
