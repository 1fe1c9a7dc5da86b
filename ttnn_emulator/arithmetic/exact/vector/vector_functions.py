"""Other functions of one value on the vector unit: log, sine, cosine, square, sign changes.

Arguments and results are float32 tensors of any shape, as they lie in Dst before and after. In a
16-bit Dst most kernels round to bf16 themselves; where one does not, the store truncates.
Kernel sources are ckernel_sfpu_<name>.h of Wormhole unless another is named.
"""

import torch

from ttnn_emulator.arithmetic.exact.vector.vector_unit import (
    add,
    bits,
    choose,
    constant,
    copy_sign,
    from_bits,
    is_zero,
    mad,
    mul,
    on_dest,
    polynomial,
    round_to_bf16,
    round_to_bf16_even,
    store,
)

INFINITY = constant(float("inf"))
NAN = constant(float("nan"))


_LOG_FP32 = tuple(
    float.fromhex(c)
    for c in (
        "0x1.555572p-2",
        "-0x1.00001ap-2",
        "0x1.998p-3",
        "-0x1.55p-3",
        "0x1.274p-3",
        "-0x1.0c4p-3",
        "0x1.b84p-4",
        "-0x1.92cp-5",
    )
)


def _log_lanes(x: torch.Tensor, coefficients: tuple[float, ...]) -> torch.Tensor:
    three_quarters = bits(constant(0.75))
    scaled = (bits(x) - three_quarters) & -0x800000
    m = add(from_bits(bits(x) - scaled), -1.0)
    r = polynomial(m, *coefficients)
    r = mad(r, mul(m, m), m)
    powers = copy_sign(scaled.abs().to(torch.float32), from_bits(scaled))
    per_power = (constant(0.693147182) * constant(1.19209290e-7)).item()
    result = mad(powers, per_power, r)
    result = torch.where(is_zero(x), -INFINITY, result)
    result = torch.where(x == float("inf"), INFINITY, result)
    return torch.where((x < 0) | x.isnan(), NAN, result)


def _log_bf16(x: torch.Tensor) -> torch.Tensor:
    coefficients = (float.fromhex("-0x1.008p-1"), float.fromhex("0x1.744p-2"), -0.25)
    return round_to_bf16(_log_lanes(x, coefficients))


def _log_fp32(x: torch.Tensor) -> torch.Tensor:
    return _log_lanes(x, (-0.5, *_LOG_FP32))


def log(x: torch.Tensor, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """Natural logarithm as `log_tile` leaves it in Dst; -infinity at 0, NaN below."""
    return choose(_log_bf16, _log_fp32, x, fp32_dest_acc)


SINE_SERIES = {  # coefficients of a**2 in (sin(a) - a) / a**3
    False: ("-0x1.5554a4p-3", "0x1.10c2a2p-7", "-0x1.8b10a4p-13"),
    True: ("-0x1.55554cp-3", "0x1.110edap-7", "-0x1.9f70fp-13", "0x1.5dc908p-19"),
}
_ROUNDING = 12582912.0  # 1.5 * 2**23: adding it leaves a rounded integer in the low bits
_ONE_OVER_PI = 0.31830987334251404


def _sine_of_turns(
    x: torch.Tensor,
    turns: torch.Tensor,
    parity: torch.Tensor,
    parts: tuple[str, ...],
    fp32_dest_acc: bool,
) -> torch.Tensor:
    a = x
    for part in parts:
        a = mad(turns, float.fromhex(part), a)
    s = mul(a, a)
    a = from_bits(bits(a) ^ (parity << 31))
    r = polynomial(s, *(float.fromhex(c) for c in SINE_SERIES[fp32_dest_acc]))
    r = mad(r, mul(a, s), a)
    return r if fp32_dest_acc else round_to_bf16(r)


def _sin(x: torch.Tensor, fp32_dest_acc: bool) -> torch.Tensor:
    turns = mad(x, _ONE_OVER_PI, _ROUNDING)
    parity = bits(turns)
    parts = ("-0x1.92p+1", "-0x1.fbp-11", "-0x1.51p-21", "-0x1.0b4612p-33")
    return _sine_of_turns(x, add(turns, -_ROUNDING), parity, parts, fp32_dest_acc)


def _cos(x: torch.Tensor, fp32_dest_acc: bool) -> torch.Tensor:
    turns = add(mad(x, _ONE_OVER_PI, 0.5), _ROUNDING)
    parity = bits(turns)
    turns = mad(add(turns, -_ROUNDING), 2.0, -1.0)
    parts = ("-0x1.92p+0", "-0x1.fbp-12", "-0x1.51p-22", "-0x1.0b4612p-34")
    return _sine_of_turns(x, turns, parity, parts, fp32_dest_acc)


def sin(x: torch.Tensor, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """sin(x) as `sin_tile` leaves it in Dst (ckernel_sfpu_trigonometry.h)."""
    return on_dest(_sin, x, fp32_dest_acc, fp32_dest_acc=fp32_dest_acc)


def cos(x: torch.Tensor, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """cos(x) as `cos_tile` leaves it in Dst (ckernel_sfpu_trigonometry.h)."""
    return on_dest(_cos, x, fp32_dest_acc, fp32_dest_acc=fp32_dest_acc)


def negate(x: torch.Tensor, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """-x, exact."""
    return on_dest(torch.neg, x, fp32_dest_acc=fp32_dest_acc)


def absolute(x: torch.Tensor, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """|x|, exact."""
    return on_dest(torch.abs, x, fp32_dest_acc=fp32_dest_acc)


def _square_bf16(x: torch.Tensor) -> torch.Tensor:
    return round_to_bf16_even(mul(x, x))


def _square_fp32(x: torch.Tensor) -> torch.Tensor:
    return mul(x, x)


def fill(x: torch.Tensor, value: float, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """One number everywhere; a 16-bit Dst cuts it, no instruction rounds (ckernel_sfpu_fill.h)."""
    return store(torch.full_like(x, value), fp32_dest_acc)


def square(x: torch.Tensor, *, fp32_dest_acc: bool = False) -> torch.Tensor:
    """x*x as `square_tile` leaves it in Dst: nearest even in either width.

    rms_norm squares this way only where a row does not fit in L1 (layernorm_large_tensor.cpp);
    otherwise its matrix unit multiplies (layernorm.cpp).
    """
    return choose(_square_bf16, _square_fp32, x, fp32_dest_acc)
