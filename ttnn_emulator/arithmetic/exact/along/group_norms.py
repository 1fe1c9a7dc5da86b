"""group_norm: the steps around its sums as its kernels take them, the sums in float64.

Kernel sources: groupnorm.cpp, groupnorm_sharded_v2.cpp and the two that start with welford
(ttnn/operations/normalization/groupnorm). A core sums its own part of a group by products with
ones, which another core adds up; which rows a core has depends on the grid and is not followed.
"""

import torch

from ttnn_emulator.arithmetic import paths
from ttnn_emulator.arithmetic.compute import BFLOAT16, Compute, Formats
from ttnn_emulator.arithmetic.exact.matrix import eltwise_unit
from ttnn_emulator.arithmetic.exact.matrix.matrix_unit import unpack
from ttnn_emulator.arithmetic.exact.packer import pack, truncate_to_bfloat16
from ttnn_emulator.arithmetic.exact.vector.vector_roots import rsqrt

SUMS = paths.approximation("sums of a group's channels in float64")

# What groupnorm.cpp gives init_device_compute_kernel_config for bfloat16.
GROUP_NORM = Compute("HiFi4", approximate=True)


def group_norm(
    x: torch.Tensor,
    groups: int,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    *,
    epsilon: float,
    compute: Compute | None = None,
    formats: Formats = BFLOAT16,
) -> torch.Tensor:
    """See `interface.Arithmetic`; every step is packed to x's format, epsilon cut to bfloat16."""
    paths.tell(SUMS)
    unit = _Unit(compute or GROUP_NORM, formats.operand)
    one = torch.ones(1)
    parts = unit.multiply(x.unflatten(-1, (groups, -1)), one)  # the mask of the group
    centred = unit.multiply(unit.subtract(parts, unit.mean(parts)), one)
    variance = unit.mean(unit.multiply(centred, centred))
    addend = truncate_to_bfloat16(torch.tensor(float(epsilon)))
    y = unit.multiply(centred, unit.root(variance, addend)).flatten(-2)
    if weight is not None:
        y = unit.multiply(y, weight)
    if bias is not None:
        y = unit.add(y, bias)
    return pack(y, formats.out, unit.fp32_dest_acc)


class _Unit:
    """The eltwise unit between buffers of one format."""

    def __init__(self, compute: Compute, dtype: str) -> None:
        self.fidelity, self.fp32_dest_acc = compute.fidelity, compute.fp32_dest_acc
        self.dtype = dtype

    def multiply(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        operands = self._unpacked(a, b)
        return self._packed(
            eltwise_unit.multiply(
                *operands, fidelity=self.fidelity, fp32_dest_acc=self.fp32_dest_acc
            )
        )

    def subtract(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        operands = self._unpacked(a, b)
        return self._packed(eltwise_unit.subtract(*operands, fp32_dest_acc=self.fp32_dest_acc))

    def add(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        operands = self._unpacked(a, b)
        return self._packed(eltwise_unit.add(*operands, fp32_dest_acc=self.fp32_dest_acc))

    def mean(self, parts: torch.Tensor) -> torch.Tensor:
        """[..., S, G, C] -> [..., 1, G, 1], packed."""
        mean = parts.double().mean((-3, -1), keepdim=True)
        return self._packed(mean.float() if self.fp32_dest_acc else mean.bfloat16().float())

    def root(self, variance: torch.Tensor, epsilon: torch.Tensor) -> torch.Tensor:
        """1 / sqrt(variance + epsilon), packed; the sum stays in Dst."""
        operands = self._unpacked(variance, epsilon)
        shifted = eltwise_unit.add(*operands, fp32_dest_acc=self.fp32_dest_acc)
        return self._packed(rsqrt(shifted, fp32_dest_acc=self.fp32_dest_acc))

    def _unpacked(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return unpack(a, self.fp32_dest_acc), unpack(b, self.fp32_dest_acc)

    def _packed(self, dst: torch.Tensor) -> torch.Tensor:
        return pack(dst, self.dtype, self.fp32_dest_acc)
