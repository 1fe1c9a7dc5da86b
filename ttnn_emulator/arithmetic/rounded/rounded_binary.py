"""Elementwise operations of two and three operands in float32, integers in int64.

The tables map an operation's name to a function of promoted values (`rounded_eltwise.promoted`) and
the operation's own numbers. Integer results may leave the 32 bits of an int32; storing wraps them.
"""

from collections.abc import Callable

import torch

Function = Callable[..., torch.Tensor]

SHIFTS = 32  # a shift by this many bits or more leaves nothing


def _shifted(a: torch.Tensor, b: torch.Tensor, shift: Function) -> torch.Tensor:
    inside = (b >= 0) & (b < SHIFTS)
    return torch.where(inside, shift(a, b.clamp(0, SHIFTS - 1)), 0)


def _as_uint32(a: torch.Tensor) -> torch.Tensor:
    return a & 0xFFFFFFFF


def _quotient(a: torch.Tensor, b: torch.Tensor, rounding: str | None = None) -> torch.Tensor:
    if rounding is None or a.is_floating_point():
        return torch.div(a.float(), b.float(), rounding_mode=rounding)
    nonzero = torch.where(b == 0, 1, b)
    return torch.where(b == 0, _by_zero(a), torch.div(a, nonzero, rounding_mode=rounding))


def _by_zero(a: torch.Tensor) -> torch.Tensor:
    """What the steps of div_int32_floor.h make of x/0."""
    return torch.where(a.abs() < 2, 1, 65536) * torch.where(a < 0, -1, 1)


def _of_nonzero(function: Function) -> Function:
    """A remainder; of integers x itself where the divisor is zero (ckernel_sfpu_binary_fmod.h)."""

    def run(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        if a.is_floating_point():
            return function(a, b)
        return torch.where(b == 0, a, function(a, torch.where(b == 0, 1, b)))

    return run


def _isclose(
    a: torch.Tensor, b: torch.Tensor, rtol: float, atol: float, equal_nan: bool
) -> torch.Tensor:
    return torch.isclose(a.float(), b.float(), rtol=rtol, atol=atol, equal_nan=equal_nan)


def _bias_gelu(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.gelu(a + b)


def _nextafter(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The next float32; the arithmetic that rounds to bfloat16 cannot tell it from `a`."""
    return torch.nextafter(a, b)


def _squared_difference(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.square(a - b)


def _quantized(x: torch.Tensor, factor: torch.Tensor | float, zero_point: float) -> torch.Tensor:
    return torch.round(x * factor + zero_point).clamp(-127, 127)


def _quantized_uint8(
    x: torch.Tensor, factor: torch.Tensor | float, zero_point: float
) -> torch.Tensor:
    return torch.round((x * factor + zero_point).abs()).clamp(0, 255)


def _dequantized(x: torch.Tensor, factor: torch.Tensor | float, zero_point: float) -> torch.Tensor:
    return (x + zero_point) * factor


# By a factor that is a tensor, or a number.
QUANTIZATION: dict[str, Function] = {
    "dequantize": _dequantized,
    "quantize": _quantized,
    "quantize_uint8": _quantized_uint8,
}

BINARY: dict[str, Function] = QUANTIZATION | {
    "add": torch.add,
    "subtract": torch.subtract,
    "multiply": torch.multiply,
    "divide": _quotient,
    "rsub": torch.rsub,
    "pow": torch.pow,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "eq": torch.eq,
    "ne": torch.ne,
    "lt": torch.lt,
    "le": torch.le,
    "gt": torch.gt,
    "ge": torch.ge,
    "logical_and": torch.logical_and,
    "logical_or": torch.logical_or,
    "logical_xor": torch.logical_xor,
    "squared_difference": _squared_difference,
    "bcast_add": torch.add,
    "bcast_multiply": torch.multiply,
    "bcast_subtract": torch.subtract,
    "absolute_difference": lambda a, b: (a - b).abs(),
    "atan2": torch.atan2,
    "bias_gelu": _bias_gelu,
    "bitwise_and": torch.bitwise_and,
    "bitwise_or": torch.bitwise_or,
    "bitwise_xor": torch.bitwise_xor,
    "fmod": _of_nonzero(torch.fmod),
    "gcd": torch.gcd,
    "hypot": torch.hypot,
    "isclose": _isclose,
    "lcm": torch.lcm,
    "ldexp": lambda a, b: a * torch.exp2(b),
    "left_shift": lambda a, b: _shifted(a, b, torch.bitwise_left_shift),
    "logaddexp": torch.logaddexp,
    "logaddexp2": torch.logaddexp2,
    "logical_right_shift": lambda a, b: _shifted(_as_uint32(a), b, torch.bitwise_right_shift),
    "nextafter": _nextafter,
    "remainder": _of_nonzero(torch.remainder),
    "right_shift": lambda a, b: _shifted(a, b, torch.bitwise_right_shift),
    "xlogy": torch.xlogy,
}


def whole(value: float) -> int:
    """A number beside integers: a float is float32, then cut."""
    return int(torch.tensor(value, dtype=torch.float32)) if isinstance(value, float) else value


def _addcmul(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, value: float) -> torch.Tensor:
    return a + (value if a.is_floating_point() else whole(value)) * b * c


TERNARY: dict[str, Function] = {
    "addcdiv": lambda a, b, c, value: a + value * b / c,
    "addcmul": _addcmul,
    "lerp": lambda a, b, weight: a + weight * (b - a),
    "mac": lambda a, b, c: a * b + c,
    "snake_beta": lambda x, alpha, beta: x + torch.sin(alpha * x) ** 2 / beta,
    "where": lambda condition, a, b: torch.where(condition != 0, a, b),
}


def _rdiv(x: torch.Tensor, value: float, rounding: str | None = None) -> torch.Tensor:
    return torch.div(value, x, rounding_mode=rounding)


# Of one operand and numbers.
WITH_NUMBERS: dict[str, Function] = QUANTIZATION | {
    "fmod": torch.fmod,
    "mac": lambda x, factor, addend: x * factor + addend,
    "maximum": lambda x, number: x.clamp(min=number),
    "minimum": lambda x, number: x.clamp(max=number),
    "multiply_by": torch.multiply,
    "prelu": lambda x, weight: torch.where(x < 0, x * weight, x),
    "rdiv": _rdiv,
    "remainder": torch.remainder,
    "rpow": lambda x, base: torch.pow(base, x),
}
