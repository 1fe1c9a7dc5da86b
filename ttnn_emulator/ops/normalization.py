"""Norms over the last dimension, and softmax."""

import math
from collections.abc import Callable
from typing import Any

import torch
import ttnn

from ttnn_emulator.arithmetic import formats, paths
from ttnn_emulator.arithmetic.compute import Formats, Split
from ttnn_emulator.arithmetic.formats import ceil_div
from ttnn_emulator.dispatch import Launch, NotEmulated
from ttnn_emulator.memory import DeviceTensor, trimmed
from ttnn_emulator.ops.common import padding
from ttnn_emulator.ops.common.configs import compute_of
from ttnn_emulator.ops.common.idle_rows import all_rows, needed_rows
from ttnn_emulator.ops.common.pairs.stages import Stages

SHARDED = paths.approximation("sharded as if interleaved")
SPLIT = paths.approximation("parts of a row on several cores, added in the cores' order")
ROW_MAJOR = paths.approximation("row-major as if in tiles")
WELFORD = paths.approximation("Welford's running mean as the plain one")


def _norm(name: str, default_epsilon: float = 1e-12) -> Callable[..., torch.Tensor]:
    def binding(
        launch: Launch,
        input_tensor: DeviceTensor,
        *,
        epsilon: float = default_epsilon,
        weight: DeviceTensor | None = None,
        bias: DeviceTensor | None = None,
        residual_input_tensor: DeviceTensor | None = None,
        compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
        program_config: object = None,  # how rows are spread over cores
        recip_tensor: DeviceTensor | None = None,  # 1/1, 1/2, ... 1/H for the kernel's running mean
    ) -> torch.Tensor:
        if recip_tensor is not None or getattr(program_config, "use_welford", False):
            paths.tell(WELFORD)
            split = None
        else:
            split = split_of(input_tensor, launch.cores)
        if split is None:
            _tell_approximations(input_tensor)
        values, residual = _rows(input_tensor, residual_input_tensor)
        rows = needed_rows(values) if residual is None else all_rows(values)
        operands = (
            rows.values,
            _row(weight, values.shape[-1]),
            _row(bias, values.shape[-1]),
            residual,
        )
        options: dict[str, Any] = {
            "epsilon": epsilon,
            "compute": compute_of(compute_kernel_config),
            "formats": Formats(input_tensor.dtype, launch.output.dtype),
        }
        if split is None:
            width = input_tensor.shape[-1]
            result = getattr(launch.math, name)(*operands, width=width, **options)
        else:
            result = getattr(launch.math, f"split_{name}")(*operands, split=split, **options)
        result = rows.whole(result, launch.output.dtype)
        if tuple(result.shape) == launch.output.shape:
            return result
        missing = launch.output.padded_shape[-2] - result.shape[-2]
        return torch.nn.functional.pad(result, (0, 0, 0, missing))

    binding.__name__ = name
    return binding


def split_of(operand: DeviceTensor, cores: tuple[int, int]) -> Split | None:
    """How an operand's rows lie on cores; None if each lies on one.

    Rows that all cores share are added in two stages if the cores are in several lines; the lines
    are taken to be as long as the chip is wide, `cores` being its (columns, rows).
    """
    if operand.shards is None or operand.shards[1] >= operand.padded_shape[-1]:
        return None
    paths.tell(SPLIT)
    shard_rows, columns, _ = operand.shards
    parts = ceil_div(operand.padded_shape[-1], columns)
    shared_by_all = shard_rows >= math.prod(operand.padded_shape[:-1])
    lines = parts // cores[0] if shared_by_all and parts % cores[0] == 0 else 1
    return Split(operand.shape[-1], columns, parts // lines, lines)


def _tell_approximations(operand: DeviceTensor) -> None:
    if operand.sharded:
        paths.tell(SHARDED)
    if not operand.tiled:
        paths.tell(ROW_MAJOR)


def _rows(
    operand: DeviceTensor, residual: DeviceTensor | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Contents of both with padding columns; without padding rows if all those are zero."""
    operands = [x for x in (operand, residual) if x is not None]
    rows, columns = operand.shape[-2], operand.padded_shape[-1] - operand.shape[-1]
    if all(x.zero_padded for x in operands):
        values = [torch.nn.functional.pad(x.logical, (0, columns)) for x in operands]
    elif any(x.data[..., rows:, :].any() for x in operands):
        values = [x.data for x in operands]
    else:
        values = [x.data[..., :rows, :] for x in operands]
    return values[0], None if residual is None else values[1]


def _row(weight: DeviceTensor | None, width: int) -> torch.Tensor | None:
    """[W] contents of a weight given as [H], [..., 1, H], or row-major [..., H/32, 32]."""
    if weight is None:
        return None
    row = weight.logical.reshape(-1)
    return torch.nn.functional.pad(row, (0, width - row.numel()))


def softmax(
    launch: Launch,
    input_tensor: DeviceTensor,
    dim: int = -1,
    *,
    numeric_stable: bool = True,
    compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
    program_config: object = None,  # how rows are spread over cores
) -> torch.Tensor:
    """Along the last dimension the rows of padding are computed too, its columns become zero."""
    _tell_approximations(input_tensor)
    options: dict[str, Any] = {
        "numeric_stable": numeric_stable,
        "compute": compute_of(compute_kernel_config),
        "formats": Formats(input_tensor.dtype, launch.output.dtype),
    }
    dim %= len(input_tensor.shape)
    if dim != len(input_tensor.shape) - 1 or not input_tensor.tiled:
        return launch.math.softmax(input_tensor.logical, dim, **options)
    result = launch.math.softmax(input_tensor.data, width=input_tensor.shape[-1], **options)
    marked = padding.undefined_rows(input_tensor.data)
    return padding.mark_undefined_rows(result, marked, launch.output.dtype)


def scale_mask_softmax(
    launch: Launch,
    input_tensor: DeviceTensor,
    scale: float | None = None,
    mask: DeviceTensor | None = None,
    *,
    is_causal_mask: bool = False,
    numeric_stable: bool = True,
    compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
    program_config: object = None,  # how rows are spread over cores
) -> torch.Tensor:
    """softmax(input * scale + mask) over the last dimension."""
    if mask is None and scale is None:
        return softmax(
            launch,
            input_tensor,
            numeric_stable=numeric_stable,
            compute_kernel_config=compute_kernel_config,
        )
    _tell_approximations(input_tensor)
    return launch.math.softmax(
        input_tensor.logical,
        scale=scale,
        mask=None if mask is None else _mask(mask, input_tensor, is_causal_mask),
        numeric_stable=numeric_stable,
        compute=compute_of(compute_kernel_config),
        formats=Formats(input_tensor.dtype, launch.output.dtype),
    )


def scale_mask_softmax_in_place(
    launch: Launch, *operands: Any, numeric_stable: bool = False, **named: Any
) -> torch.Tensor:
    """`scale_mask_softmax` that does not subtract the maximum unless asked to (softmax.cpp)."""
    return scale_mask_softmax(launch, *operands, numeric_stable=numeric_stable, **named)


def causal_softmax_in_place(
    launch: Launch, *operands: Any, numeric_stable: bool = False, **named: Any
) -> torch.Tensor:
    """`scale_mask_softmax_in_place` whose mask [1, 1, H, W] has a row for each of the operand's."""
    named |= {"is_causal_mask": True}
    return scale_mask_softmax(launch, *operands, numeric_stable=numeric_stable, **named)


def attention_softmax(
    launch: Launch,
    tensor: DeviceTensor,
    *,
    head_size: int | None = None,
    attention_mask: DeviceTensor | None = None,
    program_config: object = None,
    causal_mask: bool = False,
) -> torch.Tensor:
    """Without a mask a product by the scale, which is stored, and a softmax."""
    scale = None if head_size is None else 1 / math.sqrt(head_size)
    if attention_mask is None and scale is not None:
        _tell_approximations(tensor)
        return launch.math.softmax(
            Stages(launch, tensor.dtype).binary("multiply", tensor.logical, scale),
            numeric_stable=True,
            compute=compute_of(None),
            formats=Formats(tensor.dtype, launch.output.dtype),
        )
    return scale_mask_softmax(launch, tensor, scale, attention_mask, is_causal_mask=causal_mask)


def _mask(mask: DeviceTensor, operand: DeviceTensor, causal: bool) -> torch.Tensor:
    """Contents of the mask that broadcast to the operand [N, ..., S, W].

    A mask that is not causal has a row for each of the N entries: the first row of its tiles, or
    row-major [N, 1, W/32, 32] (reader_unary_sharded_sm_rm_mask.cpp).

    Raises:
        NotEmulated: a mask that does not broadcast, or of fewer rows than the kernel reads.
    """
    if causal and mask.tiled and _repeats(mask, operand):
        return _repeated(mask, operand)
    rows = mask.logical
    if not mask.tiled:
        rows = _one_row_each(mask, operand)
    elif not causal:
        rows = rows[..., :1, :]
    try:
        torch.broadcast_shapes(rows.shape, operand.shape)
    except RuntimeError:
        raise NotEmulated(
            f"softmax: a mask of shape {mask.shape} does not broadcast to the input's "
            f"{operand.shape}."
        ) from None
    return rows


def _one_row_each(mask: DeviceTensor, operand: DeviceTensor) -> torch.Tensor:
    entries, width = operand.shape[0], operand.shape[-1]
    if mask.logical.numel() != entries * width:
        return mask.logical
    return mask.logical.reshape(entries, *[1] * (len(operand.shape) - 2), width)


def _repeats(mask: DeviceTensor, operand: DeviceTensor) -> bool:
    """Whether the rows of an entry begin anew on the mask before the entry ends."""
    if len(operand.shape) != 4 or math.prod(mask.shape[:-2]) not in (1, operand.shape[0]):
        return False
    return operand.shape[1] > 1 or operand.padded_shape[-2] != mask.padded_shape[-2]


def _repeated(mask: DeviceTensor, operand: DeviceTensor) -> torch.Tensor:
    """A causal mask in rows of tiles, which all heads of an entry go through again and again.

    A sharded operand begins anew after the mask's last row (`mask_block_ht` of
    reader_unary_sharded_sm.cpp). An interleaved one does after as many rows of tiles as it has
    columns of them, since its kernel takes masks to be square (`mask_ht == Wt` of
    reader_unary_interleaved_sm.cpp).
    """
    entries, width = operand.padded_shape[0], operand.padded_shape[-1]
    held = mask.padded_shape[-2] // formats.TILE
    period = held if operand.sharded else width // formats.TILE
    rows = math.prod(operand.padded_shape[1:-1]) // formats.TILE
    starts = held * torch.arange(entries if math.prod(mask.shape[:-2]) > 1 else 1)
    places = starts[:, None] + torch.arange(rows) % period
    tiles = mask.data.reshape(-1, formats.TILE, width)
    if places.max() >= len(tiles):
        raise NotEmulated(
            f"softmax: the kernel takes a causal mask to be square, so for an input of "
            f"{operand.shape} it reads beyond a mask of {mask.shape}."
        )
    whole = tiles[places].reshape(-1, *operand.padded_shape[1:])
    return trimmed(whole, (len(whole), *operand.shape[1:]))


BINDINGS = {
    "ttnn.layer_norm": _norm("layer_norm"),
    "ttnn.rms_norm": _norm("rms_norm"),
    "ttnn.scale_causal_mask_hw_dims_softmax_in_place": causal_softmax_in_place,
    "ttnn.scale_mask_softmax": scale_mask_softmax,
    "ttnn.scale_mask_softmax_in_place": scale_mask_softmax_in_place,
    "ttnn.softmax": softmax,
    "ttnn.softmax_in_place": softmax,
    "ttnn.transformer.attention_softmax": attention_softmax,
    "ttnn.transformer.attention_softmax_": attention_softmax,
}
