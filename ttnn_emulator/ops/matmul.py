"""Matrix products."""

import functools
import math
from typing import Any

import torch
import ttnn

from ttnn_emulator.arithmetic import paths
from ttnn_emulator.arithmetic.compute import Blocking, Product
from ttnn_emulator.arithmetic.formats import TILE
from ttnn_emulator.dispatch import Launch, NotEmulated
from ttnn_emulator.memory import DeviceTensor, Output, Shape
from ttnn_emulator.ops.common import padding
from ttnn_emulator.ops.common.activations import Fusable, steps_of
from ttnn_emulator.ops.common.attending import refuse
from ttnn_emulator.ops.common.configs import compute_of
from ttnn_emulator.ops.common.idle_rows import needed_rows, row_by_row

SHARDED_BLOCKS = paths.approximation(
    "blocks of K of a sharded operand as if it lay in L1 interleaved"
)


def linear(
    launch: Launch,
    input_tensor_a: DeviceTensor,
    input_tensor_b: DeviceTensor,
    *,
    bias: DeviceTensor | None = None,
    transpose_a: bool = False,
    transpose_b: bool = False,
    dtype: ttnn.DataType | None = None,
    activation: Fusable | None = None,
    compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
    optional_output_tensor: DeviceTensor | None = None,
    program_config: object = None,
    core_grid: ttnn.CoreGrid | None = None,
    # where weights are streamed from
    global_cb: object = None,
    sub_device_id: object = None,
    prefetcher_pipes: object = (),
    output_tile: object = None,
    in0_column_offset: int | None = None,
) -> torch.Tensor:
    """a @ b + bias, then the activation.

    Padding of K is not read. Padding rows of `a` give rows of the output like any others. An
    activation within the program_config, or beside a core_grid, is fused to the product; otherwise
    `activation` is an operation of its own on the rounded product (matmul.cpp).

    Raises:
        NotEmulated: an output tile that is not 32 x 32; `in0_column_offset`; streamed weights.
    """
    _check_tile(launch, output_tile)
    streamed = {"global_cb": global_cb, "prefetcher_pipes": bool(prefetcher_pipes)}
    refuse(launch, in0_column_offset=in0_column_offset, **streamed)
    a = _matrix(input_tensor_a, transpose_a, vector_dim=0, rows=True)
    b = _matrix(input_tensor_b, transpose_b, vector_dim=-1, rows=False)
    fused_bias = bias is not None and bias.padded_shape[-2] <= TILE
    activation = steps_of([activation] if activation else (), alone=True)
    fused = steps_of(_as_tuple(getattr(program_config, "fused_activation", None)))
    if core_grid is not None:
        fused, activation = fused + activation, ()
    if program_config is None and core_grid is None and input_tensor_a.sharded:
        paths.tell(SHARDED_BLOCKS)
    rows = a.shape[-2]
    padded = _padded(launch.output)
    if (fused_bias or fused) and rows < padded[-2]:  # what they make of the padding rows' zeros
        a = torch.nn.functional.pad(a, (0, 0, 0, 1))
    out = launch.output.dtype
    computed = needed_rows(a)
    values = launch.math.matmul(
        computed.values,
        b,
        _first_row(bias) if fused_bias and bias is not None else None,
        product=_product(
            launch, input_tensor_a, input_tensor_b, a, b, bias if fused_bias else None
        ),
        compute=compute_of(compute_kernel_config),
        blocking=Blocking(
            cores=launch.cores,
            core_grid=None if core_grid is None else (core_grid.x, core_grid.y),
            planned=program_config is not None,
            k_block=getattr(program_config, "in0_block_w", None),
        ),
        fused=fused,
    )
    values = computed.whole(values, out)
    if len(input_tensor_b.shape) == 1:
        return values[..., :rows, :].reshape(launch.output.shape)
    values = _fitted(values, rows, launch.output)
    if bias is not None and not fused_bias:
        dtypes = (out, bias.dtype)
        added = bias.data if values.shape[-2] == padded[-2] else bias.logical
        add = functools.partial(launch.math.binary, "add", dtypes=dtypes, out=out)
        values = row_by_row(add, values, added, dtype=out)
    if activation:
        act = functools.partial(launch.math.unary, dtype=out, out=out)
        values = row_by_row(lambda rows: act(rows, *activation), values, dtype=out)
    return values


def _check_tile(launch: Launch, tile: Any) -> None:
    shape = getattr(tile, "tile_shape", tile)
    if shape is not None and list(shape) != [TILE, TILE]:
        raise NotEmulated(f"{launch.name} with output_tile={list(shape)} is not emulated.")


def _matrix(operand: DeviceTensor, transpose: bool, vector_dim: int, rows: bool) -> torch.Tensor:
    """The contents without padding; with `rows`, including padding rows that are not zero."""
    if rows and not transpose and len(operand.shape) > 1:
        return padding.live_rows(operand)
    values = operand.logical
    if values.dim() == 1:
        values = values.unsqueeze(vector_dim)
    return values.mT if transpose else values


def _product(
    launch: Launch,
    input_tensor_a: DeviceTensor,
    input_tensor_b: DeviceTensor,
    a: torch.Tensor,
    b: torch.Tensor,
    bias: DeviceTensor | None,
) -> Product:
    operands = (input_tensor_a, input_tensor_b, launch.output)
    return Product(
        a.shape[-2],
        a.shape[-1],
        b.shape[-1],
        input_tensor_a.dtype,
        input_tensor_b.dtype,
        launch.output.dtype,
        dram=all(x.in_dram for x in operands),
        bias=None if bias is None else bias.dtype,
    )


def _as_tuple(activation: Fusable | None) -> tuple[Fusable, ...]:
    return () if activation is None else (activation,)


def _padded(output: Output) -> Shape:
    """The output's padded shape with at least two dimensions."""
    return (1,) * (2 - len(output.padded_shape)) + output.padded_shape


def _fitted(values: torch.Tensor, rows: int, output: Output) -> torch.Tensor:
    """The product in the output's logical shape if its padding is zero, else in its padded one.

    The first `rows` rows are logical; a further row is what each padding row holds.
    """
    *_, computed, columns = values.shape
    padded = _padded(output)
    if computed == rows and rows * columns == math.prod(output.shape[-2:]):
        return values.reshape(output.shape)
    padded_values = torch.zeros(*values.shape[:-2], *padded[-2:], dtype=values.dtype)
    padded_values[..., :computed, :columns] = values
    if computed > rows:
        padded_values[..., rows:, :columns] = values[..., rows:, :]
    return padded_values.reshape(output.padded_shape)


def _first_row(bias: DeviceTensor) -> torch.Tensor:
    """[..., 1, N]: a bias of one tile row is fused, and the kernel adds its first row to all rows.

    A higher one is added by an operation of its own (seen in TTNN's graph of ttnn.linear).
    """
    rows = bias.logical.reshape(1, -1) if len(bias.shape) == 1 else bias.logical
    return rows[..., :1, :]


# ttnn.matmul takes no bias, which its host side sees to.
BINDINGS = {"ttnn.linear": linear, "ttnn.matmul": linear}

BY_BATCH = frozenset(BINDINGS)
