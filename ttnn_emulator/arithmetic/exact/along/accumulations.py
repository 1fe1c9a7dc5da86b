"""Running sums and products, and the exponential moving average, step by step.

Tensors are float32 or bfloat16 with logical contents of any rank. The destination of the programs
has 32 bits whatever the format, and what is carried from step to step stays float32; only results
are packed. Kernel sources: accumulation_compute.cpp and accumulation_tile_axis_compute.cpp (which
add in the same order), ckernel_sfpu_cumsum.h, ckernel_sfpu_ema.h. Which program runs in which
format was observed on the programs that TTNN 0.81.1 builds.
"""

import numpy as np
import torch

from ttnn_emulator.arithmetic.compute import Compute
from ttnn_emulator.arithmetic.exact.matrix.matrix_unit import unpack
from ttnn_emulator.arithmetic.exact.packer import pack
from ttnn_emulator.arithmetic.exact.vector import vector_binary
from ttnn_emulator.arithmetic.exact.vector.vector_unit import add, load, mad, mul, store
from ttnn_emulator.arithmetic.rounded import rounded_along


def cumulative(
    operation: str,
    x: torch.Tensor,
    dim: int,
    *,
    reverse: bool = False,
    compensated: bool = False,
    out: str = "bfloat16",
) -> torch.Tensor:
    """See `interface.Arithmetic`; integers are exact."""
    if not x.is_floating_point():
        return rounded_along.cumulative(operation, x, dim, reverse=reverse)
    steps = load(x.float()).movedim(dim, 0)
    steps = steps.flip(0) if reverse else steps
    if operation == "product":
        running = _products(steps)
    else:
        running = _compensated_sums(steps) if compensated else _sums(steps)
    running = running.flip(0) if reverse else running
    return pack(running.movedim(0, dim), out, fp32_dest_acc=True)


def _sums(steps: torch.Tensor) -> torch.Tensor:
    results = torch.empty_like(steps, memory_format=torch.contiguous_format)
    total = torch.zeros_like(steps[0])
    for step, value in enumerate(steps):
        results[step] = total = add(value, total)
    return results


def _compensated_sums(steps: torch.Tensor) -> torch.Tensor:
    """Kahan's sums: the error of a step is taken off the next value, unless it is not finite."""
    results = torch.empty_like(steps, memory_format=torch.contiguous_format)
    total = error = torch.zeros_like(steps[0])
    for step, value in enumerate(steps):
        corrected = add(value, -error)
        results[step] = new = add(total, corrected)
        gained = add(new, -total)
        error = torch.where(gained.isfinite(), add(gained, -corrected), 0.0)
        total = new
    return results


def _products(steps: torch.Tensor) -> torch.Tensor:
    results = torch.empty_like(steps, memory_format=torch.contiguous_format)
    total = torch.ones_like(steps[0])
    for step, value in enumerate(steps):
        results[step] = total = vector_binary.multiply(value, total, fp32_dest_acc=True)
    return results


def moving_average(
    x: torch.Tensor, alpha: float, *, compute: Compute | None = None, out: str = "bfloat16"
) -> torch.Tensor:
    """See `interface.Arithmetic`; the average stays float32 from step to step.

    Without a configuration Dst has 32 bits. A 16-bit one cuts what is written, not what is carried.
    """
    fp32_dest_acc = compute is None or compute.fp32_dest_acc
    kept = float(np.float32(alpha))
    taken = float(np.float32(1) - np.float32(alpha))
    steps = load(unpack(x, fp32_dest_acc).float()).movedim(-1, 0)
    results = torch.empty_like(steps, memory_format=torch.contiguous_format)
    average = torch.zeros_like(steps[0])
    for step, value in enumerate(steps):
        average = mad(taken, value, mul(kept, average))
        results[step] = store(average, fp32_dest_acc)
    return pack(results.movedim(0, -1), out, fp32_dest_acc)
