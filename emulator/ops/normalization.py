"""Norms over the last dimension, and softmax."""

import math

import torch

from emulator.dispatch import NotEmulated


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
        return getattr(launch.math, name)(
            input_tensor.logical,
            _row(weight),
            _row(bias),
            None if residual_input_tensor is None else residual_input_tensor.logical,
            epsilon=epsilon,
            compute_kernel_config=compute_kernel_config,
        )

    kernel.__name__ = name
    return kernel


def _row(weight):
    """[H] contents of a weight given as [H], [..., 1, H], or row-major [..., H/32, 32]."""
    return None if weight is None else weight.logical.reshape(-1)


def softmax(
    launch,
    input_tensor,
    dim=-1,
    *,
    numeric_stable=True,
    compute_kernel_config=None,
    program_config=None,  # how rows are spread over cores
):
    return _softmax(
        launch,
        input_tensor,
        dim,
        numeric_stable=numeric_stable,
        compute_kernel_config=compute_kernel_config,
    )


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
    return _softmax(
        launch,
        input_tensor,
        -1,
        scale=scale,
        mask=None if mask is None else _mask(mask, input_tensor, is_causal_mask),
        numeric_stable=numeric_stable,
        compute_kernel_config=compute_kernel_config,
    )


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


def _softmax(launch, operand, dim, mask=None, **how):
    """Along the last dimension the rows of padding are computed too, its columns become zero."""
    dim %= len(operand.shape)
    if mask is not None or dim != len(operand.shape) - 1 or not operand.tiled:
        return launch.math.softmax(operand.logical, dim, mask=mask, **how)
    width = operand.shape[-1]
    rows = launch.math.softmax(operand.data[..., :width], -1, **how)
    return torch.nn.functional.pad(rows, (0, operand.padded_shape[-1] - width))


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
    "ttnn.scale_mask_softmax_in_place": scale_mask_softmax,
    "ttnn.softmax": softmax,
    "ttnn.softmax_in_place": softmax,
    "ttnn.transformer.attention_softmax": attention_softmax,
    "ttnn.transformer.attention_softmax_": attention_softmax,
}
