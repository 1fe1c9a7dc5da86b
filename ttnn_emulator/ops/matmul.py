"""Matrix products."""

import functools
import math

import torch
import ttnn

from ttnn_emulator.arithmetic import paths
from ttnn_emulator.arithmetic.compute import Blocking, Product
from ttnn_emulator.arithmetic.formats import TILE
from ttnn_emulator.described_tensors import Shape
from ttnn_emulator.dispatch import Launch
from ttnn_emulator.memory import DeviceTensor, Output
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
    `activation` is an operation of its own on the rounded product (matmul.cpp). Tiles of other
    sizes change no value: each element sums the two halves of a tile's depth in the same order
    (the replayed MVMULs of llk_math_matmul.h).

    Raises:
        NotEmulated: `in0_column_offset`; streamed weights.
    """
    streamed = {"global_cb": global_cb, "prefetcher_pipes": bool(prefetcher_pipes)}
    refuse(launch, in0_column_offset=in0_column_offset, **streamed)
    a = _matrix(input_tensor_a, transpose_a, vector_dim=0, rows=True)
    b = _matrix(input_tensor_b, transpose_b, vector_dim=-1, rows=False)
    planned = program_config is not None or core_grid is not None
    fused_bias = bias is not None and _adds_bias(
        launch, input_tensor_a, input_tensor_b, bias, columns=b.shape[-1], planned=planned
    )
    activation = steps_of([activation] if activation else (), alone=True)
    fused = steps_of(_as_tuple(getattr(program_config, "fused_activation", None)))
    if core_grid is not None:
        fused, activation = fused + activation, ()
    if program_config is None and core_grid is None and input_tensor_a.sharded:
        paths.tell(SHARDED_BLOCKS)
    rows = a.shape[-2]
    padded = _padded(launch.output)
    if (bias is not None or fused) and rows < padded[-2]:  # what padding rows of zeros become
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
        values = values[..., :rows, :].reshape(launch.output.shape)
    else:
        values = _fitted(values, rows, launch.output)
    if bias is not None and not fused_bias:
        values = _plus(launch, values, bias)
    if activation:
        act = functools.partial(launch.math.unary, dtype=out, out=out)
        values = row_by_row(lambda rows: act(rows, *activation), values, dtype=out)
    return values


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


def _adds_bias(
    launch: Launch,
    a: DeviceTensor,
    b: DeviceTensor,
    bias: DeviceTensor,
    *,
    columns: int,
    planned: bool,
) -> bool:
    """Whether the product's kernel adds the bias; otherwise an operation of its own does.

    Seen in the programs of ttnn.linear, which agree with get_post_process_bias of matmul.cpp: a
    bias of all columns and one tile row is fused to a product by one matrix if the call says how to
    spread the product over cores, or all lies in DRAM interleaved.
    """
    width = bias.shape[-1] if bias.shape else 1
    if width != columns or bias.padded_shape[-2] > TILE:
        return False
    if math.prod(b.shape[launch.chip_dims : -2]) > 1:
        return False
    in_dram = all(x.in_dram and not x.sharded for x in (a, b, launch.output))
    return planned or (a.sharded and launch.output.in_dram) or in_dram


def _plus(launch: Launch, values: torch.Tensor, bias: DeviceTensor) -> torch.Tensor:
    """The product, rounded to the output's format, and the bias, in padding rows too."""
    out = launch.output.dtype
    added = bias.logical
    if values.shape != launch.output.shape and bias.shape and bias.shape[-1] > 1:
        added = bias.data if bias.shape[-2:-1] > (1,) else bias.data[..., :1, :]
    dtypes = (out, bias.dtype)

    def add(product: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
        product = launch.math.stored(product, out)
        return launch.math.binary("add", product, added, dtypes=dtypes, out=out)

    if values.dim() < 2:
        return add(values, added)
    return row_by_row(add, values, added, dtype=out)


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
    """[..., 1, N]: of a bias that is fused the kernel adds the first row to all rows."""
    rows = bias.logical.reshape(1, -1) if len(bias.shape) < 2 else bias.logical
    return rows[..., :1, :]


# ttnn.matmul takes no bias, which its host side sees to.
BINDINGS = {"ttnn.linear": linear, "ttnn.matmul": linear}

BY_BATCH = frozenset(BINDINGS)
