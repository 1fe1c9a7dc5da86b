"""Reciprocal, square root and reciprocal square root on the vector unit.

Arguments and results are float32 tensors of any shape, as they lie in Dst before and after. In a
16-bit Dst most kernels round to bf16 themselves; where one does not, the store truncates.
Kernel sources are ckernel_sfpu_<name>.h of Wormhole unless another is named.
"""

import torch

from ttnn_emulator.arithmetic.exact.vector.vector_unit import (
    INFINITY_BITS,
    MAGNITUDE,
    SIGN,
    add,
    bits,
    choose,
    constant,
    copy_sign,
    from_bits,
    is_zero,
    mad,
    mul,
    on_bf16_dest,
    on_dest,
    on_fp32_dest,
    round_to_bf16,
    rounded,
)

INFINITY = constant(float("inf"))
NAN = constant(float("nan"))


# Seed 1/m = k2 - k1*m + k0*m**2 on [1, 2).
SHARED_SEED = (0.3232325017452239990234375, 1.4545459747314453125, 2.121212482452392578125)
BF16_SEED = (0.32133400440216064453125, 1.4514148235321044921875, 2.1200883388519287109375)


def reciprocal_lanes(
    x: torch.Tensor,
    steps: int,
    seed: tuple[float, float, float] = SHARED_SEED,
    round_result: bool = False,
) -> torch.Tensor:
    """1/x by `steps` Newton steps from a quadratic seed (sfpu_reciprocal_iter); lanes in and out.

    1/0 is infinity and 1/infinity zero, each of the argument's sign.
    """
    k0, k1, k2 = seed
    negative = from_bits((bits(x) & 0x7FFFFF) | bits(constant(-1.0)))
    y = mad(k0, negative, k1)
    y = mad(y, negative, k2)
    scale = mul(from_bits(~bits(x) & (SIGN | INFINITY_BITS)), 0.5)
    for _ in range(steps):
        y = mad(y, mad(negative, y, 1.0), y)
    if round_result:
        y = round_to_bf16(y)
    return copy_sign(mul(y, scale), x)


def _reciprocal_approximate(x: torch.Tensor) -> torch.Tensor:
    return reciprocal_lanes(x, 1)


def _reciprocal_fp32(x: torch.Tensor) -> torch.Tensor:
    return reciprocal_lanes(x, 2)


def _reciprocal_bf16(x: torch.Tensor) -> torch.Tensor:
    return reciprocal_lanes(x, 1, BF16_SEED, round_result=True)


def reciprocal(
    x: torch.Tensor, *, approximate: bool = False, fp32_dest_acc: bool = False
) -> torch.Tensor:
    """1/x as `recip_tile` leaves it in Dst.

    Accurate: correctly rounded bf16, or two Newton steps in fp32. Approximate: one step with the
    shared seed, which a 16-bit Dst truncates. `approximate` is the compute config's
    math_approx_mode; `ttnn.reciprocal` has it off.
    """
    if approximate:
        return on_dest(_reciprocal_approximate, x, fp32_dest_acc=fp32_dest_acc)
    return choose(_reciprocal_bf16, _reciprocal_fp32, x, fp32_dest_acc)


def softmax_reciprocal(x: torch.Tensor, *, approximate: bool, fp32_dest_acc: bool) -> torch.Tensor:
    """1/row sum in `ttnn.softmax`: as `reciprocal`, but a 32-bit Dst is always accurate.

    softmax.cpp asks for ReciprocalApproxMode::Precise there, whatever math_approx_mode says.
    """
    return reciprocal(x, approximate=approximate and not fp32_dest_acc, fp32_dest_acc=fp32_dest_acc)


def _attention_reciprocal_bf16(x: torch.Tensor, seed: tuple[float, float, float]) -> torch.Tensor:
    return round_to_bf16(reciprocal_lanes(x, 1, seed))


def attention_reciprocal(
    x: torch.Tensor,
    *,
    approximate: bool = True,
    fp32_dest_acc: bool = False,
    streaming: bool = True,
) -> torch.Tensor:
    """1/row sum in attention (calculate_recip_first_column, ckernel_sfpu_sdpa.h).

    Approximate is the default of both attention ops. When it is off, a 16-bit Dst gets one step
    and a rounding; its seed is recip_tile's bf16 seed in prefill's streaming kernel
    (compute_streaming.hpp) and the shared one elsewhere (recip_block_inplace in
    compute_common.hpp: decode).
    """
    if approximate or fp32_dest_acc:
        return reciprocal(x, approximate=approximate, fp32_dest_acc=fp32_dest_acc)
    return on_bf16_dest(_attention_reciprocal_bf16, x, BF16_SEED if streaming else SHARED_SEED)


def _root_seed(x: torch.Tensor, magic: int) -> torch.Tensor:
    return from_bits(magic - ((bits(x) >> 1) & MAGNITUDE))


def _rsqrt(x: torch.Tensor, approximate: bool) -> torch.Tensor:
    if approximate:
        y = _root_seed(x, 0x5F0B3892)
        y = mul(y, mad(-y, mul(x, y), 1.89099014875))
    else:
        y = _root_seed(x, 0x5F1110A0)
        c = mul(-y, mul(x, y))
        y = mul(y, mad(c, add(2.2533049, c), 2.2825186))
        residual = mad(-y, mul(x, y), 1.0)
        y = mad(residual, mul(y, 0.5), y)
    y = torch.where(bits(x) < 0, NAN, y)
    y = torch.where(x == float("inf"), constant(0.0), y)
    return torch.where(is_zero(x), copy_sign(INFINITY, x), y)


def _sqrt(x: torch.Tensor, approximate: bool) -> torch.Tensor:
    if approximate:
        y = _root_seed(x, 0x5F0B3892)
        c = mul(x, y)
        result = mul(c, mad(-y, c, 1.89099014875))
    else:
        y = _root_seed(x, 0x5F1110A0)
        c = mul(-y, mul(x, y))
        y = mul(y, mad(c, add(2.2533049, c), 2.2825186))
        xy = mul(x, y)
        result = mad(mad(-y, xy, 1.0), mul(0.5, xy), xy)
    result = torch.where(x == float("inf"), INFINITY, result)
    result = torch.where(bits(x) < 0, NAN, result)
    return torch.where(is_zero(x), x, result)


_rsqrt_bf16 = rounded(_rsqrt)
_sqrt_bf16 = rounded(_sqrt)


def rsqrt(
    x: torch.Tensor, *, approximate: bool = False, fp32_dest_acc: bool = False
) -> torch.Tensor:
    """1/sqrt(x) as `rsqrt_tile` leaves it in Dst, rounded to bf16 if Dst is 16 bits wide.

    `approximate` is the compute config's math_approx_mode: 10 bits instead of 23. `ttnn.rsqrt`
    has it off; rms_norm has it on by default (layernorm.cpp calls rsqrt_tile without a mode).
    A negative argument gives NaN, +-0 the infinity of its sign.
    """
    if fp32_dest_acc:
        return on_fp32_dest(_rsqrt, x, approximate)
    return on_bf16_dest(_rsqrt_bf16, x, approximate)


def sqrt(
    x: torch.Tensor, *, approximate: bool = False, fp32_dest_acc: bool = False
) -> torch.Tensor:
    """sqrt(x) as `sqrt_tile` leaves it in Dst, rounded to bf16 if Dst is 16 bits wide."""
    if fp32_dest_acc:
        return on_fp32_dest(_sqrt, x, approximate)
    return on_bf16_dest(_sqrt_bf16, x, approximate)
