"""Operations of Mamba's state space: the recurrence, the product by latents and the sum over them.

L positions, H channels, N = 32 latents of a channel, which lie side by side in W = 32 H columns.
All compute in the matrix unit with a 16-bit destination. The formats of the circular buffers are
those of tt-metal's program factories (`*_program_factory.cpp` of experimental/ssm).
"""

from typing import Any

import torch
import ttnn

from ttnn_emulator.arithmetic.compute import Compute
from ttnn_emulator.arithmetic.formats import TILE
from ttnn_emulator.dispatch import Launch, NotEmulated
from ttnn_emulator.memory import DeviceTensor

FLOATS = ("bfloat16", "float32", "bfloat8_b", "bfloat4_b")


def prefix_scan(
    launch: Launch,
    a: DeviceTensor,
    bx: DeviceTensor,
    h_prev: DeviceTensor,
    *,
    dtype: ttnn.DataType | None = None,
    math_fidelity: Any = None,  # ttnn.MathFidelity
) -> torch.Tensor:
    """[1, 1, L, W] states h[l] = a[l] * h[l - 1] + bx[l] of each column, from the row `h_prev` on.

    The state after the last row, of padding too, is written over `h_prev`
    (writer_ssm_prefix_scan.cpp). A core scans the columns that it holds.

    Raises:
        NotEmulated: tensors that do not lie on the cores in the same way, with all rows on each:
            the kernel reads and writes by `a`'s shards alone. Integers, or another dtype of result
            than `a`'s, in which it writes.
    """
    _check_shards(launch, a, bx, h_prev)
    _check_dtype(launch, a)
    states = launch.math.state_scan(
        _in_bfloat16(launch, a),
        _in_bfloat16(launch, bx),
        _in_bfloat16(launch, h_prev).reshape(-1),
        compute=_compute(math_fidelity),
    )
    last = launch.math.stored(states[..., -1, :], h_prev.dtype)
    h_prev.data.copy_(last.reshape(h_prev.padded_shape))
    return states


def _check_shards(launch: Launch, a: DeviceTensor, bx: DeviceTensor, h_prev: DeviceTensor) -> None:
    assert a.shards is not None  # the host side sees to it
    rows, columns, cores = a.shards
    width = a.padded_shape[-1]
    row = h_prev.padded_shape == (*(1,) * (len(h_prev.padded_shape) - 1), width)
    alike = bx.shards == launch.output.shards == a.shards and h_prev.shards == (1, columns, cores)
    if not (row and alike and rows == a.padded_shape[-2] and columns * cores == width):
        raise NotEmulated(
            f"{launch.name} of shards (rows, columns, cores) {a.shards}, {bx.shards} and "
            f"{h_prev.shards} into {launch.output.shards} is not emulated: the operands and the "
            "result must have the same ones, of all rows, and h_prev one row of each."
        )


def hc_sum_reduce(
    launch: Launch,
    input: DeviceTensor,
    *,
    dtype: ttnn.DataType | None = None,
    math_fidelity: Any = None,  # ttnn.MathFidelity
) -> torch.Tensor:
    """The sum over each channel's latents, [1, 1, L, W] to [1, 1, L, H].

    Raises:
        NotEmulated: another dtype of result than the operand's, in which the kernel writes.
    """
    _check_dtype(launch, input)
    return launch.math.latent_sum(_in_bfloat16(launch, input), compute=_compute(math_fidelity))


def repeat_and_interleave_eltwise_mul(
    launch: Launch,
    a: DeviceTensor,
    b: DeviceTensor,
    *,
    dtype: ttnn.DataType | None = None,
    math_fidelity: Any = None,  # ttnn.MathFidelity
) -> torch.Tensor:
    """[1, 1, L, W]: a, whose 32 columns are every channel's, times b, a column for a channel.

    Either may have W columns already.
    """
    first, second = _in_bfloat16(launch, a), _in_bfloat16(launch, b)
    width = launch.output.padded_shape[-1]
    if first.shape[-1] != width:
        first = first.repeat(1, 1, 1, width // TILE)
    if second.shape[-1] != width:
        second = second.repeat_interleave(TILE, -1)
    return launch.math.latent_product(first, second, compute=_compute(math_fidelity))


def _in_bfloat16(launch: Launch, operand: DeviceTensor) -> torch.Tensor:
    """Padded contents as the kernels' buffers between the steps hold them, or unpacked alike."""
    return launch.math.moved(operand.data, operand.dtype, "bfloat16", fp32_dest_acc=False)


def _check_dtype(launch: Launch, operand: DeviceTensor) -> None:
    if operand.dtype not in FLOATS or operand.dtype != launch.output.dtype:
        raise NotEmulated(
            f"{launch.name} of {operand.dtype} into {launch.output.dtype} is not emulated: the "
            "kernel writes the first operand's format, whatever the result's dtype is."
        )


def _compute(math_fidelity: Any) -> Compute | None:
    return None if math_fidelity is None else Compute(math_fidelity.name)


BINDINGS = {
    "ttnn.experimental.hc_sum_reduce": hc_sum_reduce,
    "ttnn.experimental.prefix_scan": prefix_scan,
    "ttnn.experimental.repeat_and_interleave_eltwise_mul": repeat_and_interleave_eltwise_mul,
}

WRITES = {"ttnn.experimental.prefix_scan": ("h_prev",)}
