"""Integers for numbers by a scale and a zero point, each a number or a tensor; and back.

With a zero point that is a number one kernel rounds to the nearest integer and limits it
(ckernel_sfpu_quant.h). One that is a tensor takes elementwise kernels, the last of which cuts.
"""

import torch

from ttnn_verify.numerics import metrics, op_floors
from ttnn_verify.ops.expected import CallContext, Expected
from ttnn_verify.ops.spec import OpSpec

Value = torch.Tensor | float

# What the vector unit's conversions to integers of 8 bits reach, those of int32 tensors too.
LIMITS = {"uint8": (0, 255), "int8": (-128, 127), "int32": (-127, 127)}

# Roundings before a result becomes an integer: the scale or its inverse, twice, product and sum.
STEPS = 4


def quantize(
    context: CallContext,
    input_tensor: torch.Tensor,
    scale: Value,
    zero_point: Value,
    *,
    axis: int | None = None,
) -> Expected:
    """x/scale + zero_point."""
    x = input_tensor.double()
    scales, zeros = (_along(axis, x.dim(), value) for value in (scale, zero_point))
    terms = x / scales, zeros.expand(x.shape)
    if torch.is_tensor(zero_point):
        return _cut(terms, "bfloat16" if torch.equal(x.bfloat16().double(), x) else "float32")
    return _nearest(context, terms)


def dequantize(
    context: CallContext,
    input_tensor: torch.Tensor,
    scale: Value,
    zero_point: Value,
    *,
    axis: int | None = None,
) -> Expected:
    """(x - zero_point)*scale, in float32: a scale that is rounded and a product."""
    x = input_tensor.double()
    scales, zeros = (_along(axis, x.dim(), value) for value in (scale, zero_point))
    value = (x - zeros) * scales

    def floor() -> op_floors.Floor:
        steps = [op_floors.output(value, "float32")] * 2
        return op_floors.chain(op_floors.output(value, context.out), *steps)

    return Expected(value, floor)


def requantize(
    context: CallContext,
    input_tensor: torch.Tensor,
    in_scale: Value,
    in_zero_point: Value,
    out_scale: Value,
    out_zero_point: Value,
    *,
    axis: int | None = None,
) -> Expected:
    """(x - in_zero_point)*in_scale/out_scale + out_zero_point.

    One kernel of four numbers, in float32. Several of four tensors along an axis, in float32, and
    the result is cut. Otherwise it is dequantized to bfloat16 and quantized.
    """
    given = (in_scale, in_zero_point, out_scale, out_zero_point)
    x = input_tensor.double()
    scales, zeros, new_scales, new_zeros = (_along(axis, x.dim(), value) for value in given)
    factor = scales / new_scales
    terms = x * factor, (new_zeros - zeros * factor).expand(x.shape)
    tensors = [torch.is_tensor(value) for value in given]
    if not any(tensors):
        return _nearest(context, terms)
    if all(tensors) and axis is not None:
        return _cut(terms, "float32")
    between = (x - zeros) * scales
    terms = between / new_scales, new_zeros.expand(x.shape)
    if tensors[3]:
        return _cut(terms, "bfloat16")
    return _nearest(context, terms, metrics.unit(between, "bfloat16") / 2 / new_scales)


def _along(axis: int | None, rank: int, value: Value) -> torch.Tensor:
    """float64 that broadcasts: a number, or a tensor along `axis`."""
    wide = torch.as_tensor(value).double()
    if not wide.dim() or (axis is None and wide.numel() == 1):
        return wide.reshape(())
    return wide.reshape([-1 if place == (axis or 0) % rank else 1 for place in range(rank)])


def _nearest(
    context: CallContext,
    terms: tuple[torch.Tensor, torch.Tensor],
    wide: torch.Tensor | float = 0.0,
) -> Expected:
    """The sum as the nearest integer, but where an error of float32 decides which one that is.

    Args:
        wide: by how much the first term may be off beside.
    """
    value = terms[0] + terms[1]
    least, most = LIMITS.get(context.out, LIMITS["int32"])
    size = terms[0].abs() + terms[1].abs()
    off = STEPS * metrics.unit(size, "float32") / 2 + wide
    from_tie = ((value - value.floor()) - 0.5).abs()
    sure = (from_tie > off) & (value > least - 0.5)  # of less uint8 has the magnitude
    limited = value.round().clamp(least, most)
    return Expected(limited) if sure.all() else Expected(limited[sure], None, sure)


def _cut(terms: tuple[torch.Tensor, torch.Tensor], kept: str) -> Expected:
    """The sum without its fraction, of kernels that keep their results in a format.

    In float32 it is known but where an error decides. In bfloat16 it may be off by its roundings:
    a small one is an error of 1 with that probability.
    """
    value, size = terms[0] + terms[1], terms[0].abs() + terms[1].abs()
    off = STEPS * metrics.unit(size, kept) / 2
    whole = value.trunc()
    if kept == "bfloat16":
        deviation = (off + off.square()).sqrt()
        return Expected(whole, lambda: op_floors.of_errors(whole, deviation))
    sure = ((value - off).trunc() == whole) & ((value + off).trunc() == whole)
    return Expected(whole) if sure.all() else Expected(whole[sure], None, sure)


SPECS = tuple(
    OpSpec((golden.__name__,), golden, data="computes")
    for golden in (quantize, dequantize, requantize)
)
