"""Operations of two and three integer tensors, exact in 32 bits (16 of uint16) that wrap.

The kernels add, multiply, shift and divide whole integers (ckernel_sfpu_mul_int32.h,
ckernel_sfpu_shift.h, ckernel_sfpu_div_int32_floor.h, ckernel_sfpu_binary_remainder.h,
ckernel_sfpu_gcd.h); their results are those of integer arithmetic, so it is used here. Division to
float32 has steps of its own (ckernel_sfpu_div_int32.h).
"""

import torch

from ttnn_emulator.arithmetic import paths
from ttnn_emulator.arithmetic.compute import FusedOp, FusedOps
from ttnn_emulator.arithmetic.exact.vector import vector_typecast
from ttnn_emulator.arithmetic.exact.vector.vector_roots import reciprocal_lanes
from ttnn_emulator.arithmetic.exact.vector.vector_unit import mad, mul
from ttnn_emulator.arithmetic.formats import STORAGE
from ttnn_emulator.arithmetic.rounded import rounded_binary, rounded_eltwise

LARGE_LCM = paths.approximation("lcm of integers of 32768 and more, which its kernel cannot hold")
BY_ZERO = paths.approximation("integers divided by zero")

LCM_LIMIT = 1 << 15


def binary(
    op: FusedOp,
    a: torch.Tensor,
    b: torch.Tensor,
    *,
    dtypes: tuple[str, str],
    out: str,
    fused: FusedOps,
) -> torch.Tensor:
    """The values of an operation in the format `out`; see `interface.Arithmetic.binary`."""
    a, b = (rounded_eltwise.promoted(x) for x in (a, b))
    _note(op.name, a, b)
    if op.name == "divide" and not op.numbers:
        return _divided(*torch.broadcast_tensors(a, b))
    values = rounded_eltwise.binary(op, a, b, fused=fused)
    return as_dtype(values, dtypes[0], out)


def _note(name: str, a: torch.Tensor, b: torch.Tensor) -> None:
    if name == "lcm" and max(a.abs().amax(), b.abs().amax()) >= LCM_LIMIT:
        paths.tell(LARGE_LCM)
    if name in ("divide", "fmod", "remainder") and (b == 0).any():
        paths.tell(BY_ZERO)


def as_dtype(values: torch.Tensor, dtype: str, out: str) -> torch.Tensor:
    """Integers that wrapped in `dtype`, converted to `out` by the typecast that ends the kernel."""
    if values.is_floating_point() or out == dtype:
        return values
    values = values.to(STORAGE[dtype])
    if out == "float32":
        return vector_typecast.integer_to_float32(values)
    if out == "bfloat16":
        return vector_typecast.integer_to_bfloat16(values)
    return vector_typecast.integer_to_uint16(values) if out == "uint16" else values.long()


def _divided(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a/b in float32: a times a reciprocal of two steps, and one residual step where b is not 0."""
    x, y = a.float(), b.float()
    inverse = reciprocal_lanes(y, 2)
    quotient = mul(x, inverse)
    corrected = mad(mad(-quotient, y, x), inverse, quotient)
    quotient = torch.where(b != 0, corrected, quotient)
    return torch.where((a == b) & (a != 0), 1.0, quotient)


def addcmul(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, value: float) -> torch.Tensor:
    """a + value*b*c, the value cut to an integer; see ternary_addcmul_int_sfpu.cpp."""
    a, b, c = (rounded_eltwise.promoted(x) for x in (a, b, c))
    return a + rounded_binary.whole(value) * b * c
