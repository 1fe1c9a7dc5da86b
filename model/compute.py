"""How the kernels compute, and how weights reach the device."""

import torch
import ttnn


def _accurate(fidelity):
    """Sums in float32, which matters most, and products of the given fidelity."""
    return ttnn.WormholeComputeKernelConfig(
        math_fidelity=fidelity,
        math_approx_mode=False,
        fp32_dest_acc_en=True,
        packer_l1_acc=False,
    )


# TTNN's default for linear (HiFi2, 16-bit sums) has six times the error of this at K = 3072. HiFi4's
# fourth phase would add the product of both operands' lowest bits, 2^-14 of the whole, for a third
# more time.
PRODUCTS = _accurate(ttnn.MathFidelity.HiFi3)

# TTNN's default rms_norm sums squares in bfloat16: 1.7 % too small at a width of 3072.
NORMS = _accurate(ttnn.MathFidelity.HiFi4)


def to_device(tensor: torch.Tensor, device, layout=ttnn.TILE_LAYOUT) -> ttnn.Tensor:
    """Copy a host tensor of any float dtype into DRAM as bfloat16, shape unchanged."""
    return ttnn.from_torch(
        tensor.detach().to(torch.bfloat16), dtype=ttnn.bfloat16, layout=layout, device=device
    )


def linear_weight(weight: torch.Tensor, device) -> ttnn.Tensor:
    """torch.nn.Linear keeps [out, in]; ttnn.linear multiplies by [in, out]."""
    return to_device(weight.detach().to(torch.bfloat16).T, device)


def linear(x: ttnn.Tensor, weight: ttnn.Tensor, **kwargs) -> ttnn.Tensor:
    return ttnn.linear(x, weight, compute_kernel_config=PRODUCTS, **kwargs)
