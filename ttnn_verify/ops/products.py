"""Matrix products, norms and softmax."""

import torch

from ttnn_verify.numerics import op_floors
from ttnn_verify.ops.expected import CallContext, Expected, applied, functions_of
from ttnn_verify.ops.spec import OpSpec

# Columns that are converted to float64 at a time, while they stay in the processor's caches.
COLUMNS = 256


def in_float64(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a [..., M, K] @ b [..., K, N]; a whole matrix of weights in float64 would be slow to make."""
    a = a.double()
    if b.dim() < 2:
        return a @ b.double()
    return torch.cat([a @ columns.double() for columns in b.split(COLUMNS, -1)], -1)


def linear(
    context: CallContext,
    input_tensor_a: torch.Tensor,
    input_tensor_b: torch.Tensor,
    *,
    bias: torch.Tensor | None = None,
    transpose_a: bool = False,
    transpose_b: bool = False,
    activation: object = None,
) -> Expected:
    """a @ b + bias [..., N], then the activation of the program config and the one given."""
    a = input_tensor_a.mT if transpose_a else input_tensor_a
    b = input_tensor_b.mT if transpose_b else input_tensor_b
    fused = getattr(context.program_config, "fused_activation", None)
    names = functions_of([one for one in (fused, activation) if one])
    product = in_float64(a, b)
    if bias is not None:
        product = product + bias.double()
    value = applied(product, names)

    def floor() -> op_floors.Floor:
        row = None if bias is None else bias.flatten()
        parts = [op_floors.matmul(a, b, bias=row, out=context.out, compute=context.compute)]
        parts += [op_floors.vector(value, context.out, name) for name in names]
        return op_floors.chain(*parts)

    return Expected(value, floor)


def rms_norm(
    context: CallContext,
    input_tensor: torch.Tensor,
    *,
    epsilon: float = 1e-12,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    residual_input_tensor: torch.Tensor | None = None,
) -> Expected:
    """x / sqrt(mean(x^2) + epsilon) * weight + bias, of x + residual if given; x [..., W]."""
    x = input_tensor if residual_input_tensor is None else input_tensor + residual_input_tensor
    row = None if weight is None else weight.reshape(-1)
    value = x.double() * (x.double().square().mean(-1, keepdim=True) + epsilon).rsqrt()
    if row is not None:
        value = value * row.double()
    shifted = value if bias is None else value + bias.double().reshape(-1)

    def floor() -> op_floors.Floor:
        norm = op_floors.rms_norm(x, row, epsilon, out=context.out, compute=context.compute)
        norm = op_floors.shifted(norm, value, shifted, context.out)
        if residual_input_tensor is None:
            return norm
        return op_floors.chain(norm, op_floors.output(x.double()))

    return Expected(shifted, floor)


def layer_norm(
    context: CallContext,
    input_tensor: torch.Tensor,
    *,
    epsilon: float = 1e-12,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    residual_input_tensor: torch.Tensor | None = None,
) -> Expected:
    """(x - mean) / sqrt(variance + epsilon) * weight + bias, of x + residual if given; [..., W]."""
    x = input_tensor if residual_input_tensor is None else input_tensor + residual_input_tensor
    scale, shift = (None if row is None else row.reshape(-1) for row in (weight, bias))
    scale_64, shift_64 = (None if row is None else row.double() for row in (scale, shift))
    value = torch.nn.functional.layer_norm(x.double(), x.shape[-1:], scale_64, shift_64, epsilon)

    def floor() -> op_floors.Floor:
        norm = op_floors.layer_norm(
            x, scale, shift, epsilon, out=context.out, compute=context.compute
        )
        if residual_input_tensor is None:
            return norm
        return op_floors.chain(norm, op_floors.output(x.double()))

    return Expected(value, floor)


def softmax(context: CallContext, input_tensor: torch.Tensor, dim: int = -1) -> Expected:
    """Softmax over a dimension, by the precision that the compute config asks for."""
    config, compute = context.compute_kernel_config, context.compute
    precision = {}
    if config is not None and compute is not None:
        precision = {
            "fidelity": compute.fidelity,
            "fp32_dest_acc": compute.fp32_dest_acc,
            "exp_approximate": config.math_approx_mode,
        }
    return Expected(
        torch.softmax(input_tensor.double(), dim),
        lambda: op_floors.softmax(input_tensor, dim=dim, out=context.out, **precision),
    )


def masked_softmax(
    context: CallContext,
    input_tensor: torch.Tensor,
    scale: float | None = None,
    mask: torch.Tensor | None = None,
    *,
    is_causal_mask: bool = False,
) -> Expected:
    """softmax(x * scale + mask) of x [..., S, W]; of a mask that is not causal its first row.

    Such a row may be given as [N, 1, W/32, 32]. A causal mask of fewer rows begins anew.
    """
    x = input_tensor.double() * (1.0 if scale is None else scale)
    if mask is not None and is_causal_mask:
        x = x + torch.cat([mask] * max(1, x.shape[-2] // mask.shape[-2]), -2).double()
    elif mask is not None:
        row = mask if mask.shape[-1] == x.shape[-1] else mask.reshape(len(mask), 1, 1, -1)
        x = x + row[..., :1, :].double()
    return softmax(context, x)


def causal_softmax(
    context: CallContext,
    input_tensor: torch.Tensor,
    scale: float | None = None,
    mask: torch.Tensor | None = None,
) -> Expected:
    """`masked_softmax` with a mask of as many rows as x."""
    return masked_softmax(context, input_tensor, scale, mask, is_causal_mask=True)


def attention_softmax(
    context: CallContext,
    tensor: torch.Tensor,
    *,
    head_size: int | None = None,
    attention_mask: torch.Tensor | None = None,
    causal_mask: bool = False,
) -> Expected:
    """`masked_softmax` of scores over the root of the head's size."""
    scale = None if head_size is None else head_size**-0.5
    return masked_softmax(context, tensor, scale, attention_mask, is_causal_mask=causal_mask)


STABLE = frozenset({"numeric_stable"})  # a maximum that is subtracted changes no exact value

SPECS = (
    OpSpec(("linear", "matmul"), linear, kind="product", family="products"),
    OpSpec(
        ("rms_norm",),
        rms_norm,
        kind="norm",
        constant="epsilon",
        family="norms",
        neutral={"recip_tensor": ()},
    ),
    OpSpec(("layer_norm",), layer_norm, kind="norm", constant="epsilon", family="norms"),
    OpSpec(("softmax", "softmax_in_place"), softmax, ignored=STABLE),
    OpSpec(("scale_mask_softmax", "scale_mask_softmax_in_place"), masked_softmax, ignored=STABLE),
    OpSpec(("scale_causal_mask_hw_dims_softmax_in_place",), causal_softmax, ignored=STABLE),
    OpSpec(("attention_softmax", "attention_softmax_"), attention_softmax),
)
