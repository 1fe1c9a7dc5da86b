"""Number conversions of `ttnn.typecast` that run on the vector unit (ckernel_sfpu_typecast.h).

Conversions between float formats other than float32 to bfloat16 need no instruction: the unpacker
and the packer make them. Integers are taken as any integer tensor and given as int32, uint32 or
uint16 tensors.
"""

import torch

from ttnn_emulator.arithmetic.exact.vector.vector_unit import (
    add,
    bits,
    load,
    mad,
    mul,
    round_to_bf16,
    round_to_bf16_even,
    round_to_integer,
    store,
)


def float32_to_bfloat16(x: torch.Tensor) -> torch.Tensor:
    """Nearest even, as float32 values; denormals become zero."""
    return store(round_to_bf16_even(load(x)), fp32_dest_acc=True)


def _truncated(x: torch.Tensor) -> torch.Tensor:
    """|x| cut to an integer, int64; values of 2**62 and more, infinities and NaN give 2**62."""
    magnitude = torch.nan_to_num(x.abs().double(), nan=2.0**62, posinf=2.0**62)
    return magnitude.clamp(max=2.0**62).to(torch.int64)


def to_int32(x: torch.Tensor) -> torch.Tensor:
    """Toward zero, saturating at -2**31 and 2**31 - 1; NaN saturates by its sign."""
    negative = bits(x) < 0
    magnitude = torch.minimum(_truncated(x), torch.where(negative, 1 << 31, (1 << 31) - 1))
    return torch.where(negative, -magnitude, magnitude).to(torch.int32)


def to_uint32(x: torch.Tensor) -> torch.Tensor:
    """Toward zero, negative values to 0, saturating at 2**32 - 1."""
    magnitude = _truncated(x).clamp(max=(1 << 32) - 1)
    return torch.where(bits(x) < 0, 0, magnitude).to(torch.uint32)


def to_uint16(x: torch.Tensor) -> torch.Tensor:
    """To the nearest, ties up, negative values to 0, saturating at 65535."""
    magnitude = round_to_integer(x, 65535)
    return torch.where(bits(x) < 0, 0, magnitude).to(torch.uint16)


def integer_to_float32(values: torch.Tensor) -> torch.Tensor:
    """int32, uint32 or uint16 to float32, nearest even."""
    return values.to(torch.int64).to(torch.float32)


def integer_to_bfloat16(values: torch.Tensor) -> torch.Tensor:
    """int32, uint32 or uint16 to bfloat16 values in float32.

    Two roundings: to float32 nearest even, then to bf16 with ties away from zero.
    """
    return round_to_bf16(integer_to_float32(values))


def integer_to_uint16(values: torch.Tensor) -> torch.Tensor:
    """int32 or uint32 to uint16, saturating at 0 and 65535.

    A negative int32 read as sign and magnitude is negative too, so it clamps to 0.
    """
    return values.to(torch.int64).clamp(0, 65535).to(torch.uint16)


# --- quantization (ckernel_sfpu_quant.h), whose Dst has 32 bits ----------------------------------


def _fixed(x: torch.Tensor, factor: torch.Tensor | float, zero_point: float) -> torch.Tensor:
    return mad(load(x), _loaded(factor), float(torch.tensor(zero_point)))


def _loaded(factor: torch.Tensor | float) -> torch.Tensor | float:
    return load(factor) if isinstance(factor, torch.Tensor) else float(torch.tensor(factor))


def quantize(
    x: torch.Tensor,
    factor: torch.Tensor | float,
    zero_point: float,
    *,
    fp32_dest_acc: bool = True,
) -> torch.Tensor:
    """x*factor + zero_point to the nearest integer from -127 to 127, as float32 values."""
    value = _fixed(x, factor, zero_point)
    return round_to_integer(value, 127).float().copysign(value)


def quantize_uint8(
    x: torch.Tensor,
    factor: torch.Tensor | float,
    zero_point: float,
    *,
    fp32_dest_acc: bool = True,
) -> torch.Tensor:
    """The same without sign, up to 255: a negative value gives its magnitude."""
    return round_to_integer(_fixed(x, factor, zero_point), 255).float()


def dequantize(
    x: torch.Tensor,
    factor: torch.Tensor | float,
    zero_point: float,
    *,
    fp32_dest_acc: bool = True,
) -> torch.Tensor:
    """(x + zero_point)*factor; the caller negates the zero point."""
    return store(mul(add(load(x), zero_point), _loaded(factor)), fp32_dest_acc=True)


FOLLOWED = {
    "dequantize": dequantize,
    "quantize": quantize,
    "quantize_uint8": quantize_uint8,
}
