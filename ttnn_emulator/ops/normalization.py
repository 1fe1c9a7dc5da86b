"""Norms over the last dimension, and softmax."""

import math

import torch

from ttnn_emulator.arithmetic import paths
from ttnn_emulator.arithmetic.compute import Formats
from ttnn_emulator.dispatch import NotEmulated
from ttnn_emulator.ops.common import padding
from ttnn_emulator.ops.common.configs import compute_of

SHARDED = paths.approximation("sharded as if interleaved")
ROW_MAJOR = paths.approximation("row-major as if in tiles")
WELFORD = paths.approximation("Welford's running mean as the plain one")


def _norm(name, default_epsilon=1e-12):
    def kernel(
        launch,
        input_tensor,
        *,
        epsilon=default_epsilon,
        weight=None,
        bias=None,
        residual_input_tensor=None,
        compute_kernel_config=None,
        program_config=None,  # how rows are spread over cores
        recip_tensor=None,  # 1/1, 1/2, ... 1/H for the kernel's running mean
    ):
        _tell_what_is_not_followed(input_tensor)
        if recip_tensor is not None or getattr(program_config, "use_welford", False):
            paths.tell(WELFORD)
        values, residual = _rows(input_tensor, residual_input_tensor)
        values, marked = padding.without_undefined_rows(values)
        result = getattr(launch.math, name)(
            values,
            _row(weight, values.shape[-1]),
            _row(bias, values.shape[-1]),
            residual,
            epsilon=epsilon,
            width=input_tensor.shape[-1],
            compute=compute_of(compute_kernel_config),
            formats=Formats(input_tensor.dtype, launch.output.dtype),
        )
        result = padding.mark_undefined_rows(result, marked, launch.output.dtype)
        if tuple(result.shape) == launch.output.shape:
            return result
        missing = launch.output.padded_shape[-2] - result.shape[-2]
        return torch.nn.functional.pad(result, (0, 0, 0, missing))

    kernel.__name__ = name
    return kernel


def _tell_what_is_not_followed(operand):
    if operand.sharded:
        paths.tell(SHARDED)
    if not operand.tiled:
        paths.tell(ROW_MAJOR)


def _rows(operand, residual):
    """Contents of both with padding columns; without padding rows if all those are zero."""
    operands = [x for x in (operand, residual) if x is not None]
    rows, columns = operand.shape[-2], operand.padded_shape[-1] - operand.shape[-1]
    if all(x.zero_padded for x in operands):
        values = [torch.nn.functional.pad(x.logical, (0, columns)) for x in operands]
    elif any(x.data[..., rows:, :].any() for x in operands):
        values = [x.data for x in operands]
    else:
        values = [x.data[..., :rows, :] for x in operands]
    return values if residual is not None else (*values, None)


def _row(weight, width):
    """[W] contents of a weight given as [H], [..., 1, H], or row-major [..., H/32, 32]."""
    if weight is None:
        return None
    row = weight.logical.reshape(-1)
    return torch.nn.functional.pad(row, (0, width - row.numel()))


def softmax(
    launch,
    input_tensor,
    dim=-1,
    *,
    numeric_stable=True,
    compute_kernel_config=None,
    program_config=None,  # how rows are spread over cores
):
    """Along the last dimension the rows of padding are computed too, its columns become zero."""
    _tell_what_is_not_followed(input_tensor)
    how = {
        "numeric_stable": numeric_stable,
        "compute": compute_of(compute_kernel_config),
        "formats": Formats(input_tensor.dtype, launch.output.dtype),
    }
    dim %= len(input_tensor.shape)
    if dim != len(input_tensor.shape) - 1 or not input_tensor.tiled:
        return launch.math.softmax(input_tensor.logical, dim, **how)
    result = launch.math.softmax(input_tensor.data, width=input_tensor.shape[-1], **how)
    marked = padding.undefined_rows(input_tensor.data)
    return padding.mark_undefined_rows(result, marked, launch.output.dtype)


def scale_mask_softmax(
    launch,
    input_tensor,
    scale=None,
    mask=None,
    *,
    is_causal_mask=False,
    numeric_stable=True,
    compute_kernel_config=None,
    program_config=None,  # how rows are spread over cores
):
    """softmax(input * scale + mask) over the last dimension."""
    if mask is None and scale is None:
        return softmax(
            launch,
            input_tensor,
            numeric_stable=numeric_stable,
            compute_kernel_config=compute_kernel_config,
        )
    _tell_what_is_not_followed(input_tensor)
    return launch.math.softmax(
        input_tensor.logical,
        scale=scale,
        mask=None if mask is None else _mask(mask, input_tensor, is_causal_mask),
        numeric_stable=numeric_stable,
        compute=compute_of(compute_kernel_config),
        formats=Formats(input_tensor.dtype, launch.output.dtype),
    )


def scale_mask_softmax_in_place(launch, *operands, numeric_stable=False, **named):
    """`scale_mask_softmax` that does not subtract the maximum unless asked to (softmax.cpp)."""
    return scale_mask_softmax(launch, *operands, numeric_stable=numeric_stable, **named)


def attention_softmax(
    launch,
    tensor,
    *,
    head_size=None,
    attention_mask=None,
    program_config=None,
    causal_mask=False,
):
    scale = None if head_size is None else 1 / math.sqrt(head_size)
    return scale_mask_softmax(launch, tensor, scale, attention_mask, is_causal_mask=causal_mask)


def _mask(mask, operand, causal):
    """Logical contents that broadcast; of a mask that is not causal the kernel reads one row."""
    rows = mask.logical if causal else mask.logical[..., :1, :]
    try:
        torch.broadcast_shapes(rows.shape, operand.shape)
    except RuntimeError:
        raise NotEmulated(
            f"softmax: a mask of shape {mask.shape} does not broadcast to the input's {operand.shape}."
        ) from None
    return rows


KERNELS = {
    "ttnn.layer_norm": _norm("layer_norm"),
    "ttnn.rms_norm": _norm("rms_norm"),
    "ttnn.scale_causal_mask_hw_dims_softmax_in_place": scale_mask_softmax,
    "ttnn.scale_mask_softmax": scale_mask_softmax,
    "ttnn.scale_mask_softmax_in_place": scale_mask_softmax_in_place,
    "ttnn.softmax": softmax,
    "ttnn.softmax_in_place": softmax,
    "ttnn.transformer.attention_softmax": attention_softmax,
    "ttnn.transformer.attention_softmax_": attention_softmax,
}
