"""Elementwise operations of one operand, conversions and moves as their kernels compute them.

Operands are contents in storage dtype with their device dtype beside them; results are float32
values as the packer leaves them in the format `out`, or int64. A kernel's destination has 32 bits
as soon as an operand or the result does. Kernel sources: eltwise_sfpu.cpp,
eltwise_binary_no_bcast.cpp, eltwise_binary_sfpu_no_bcast.cpp, eltwise_typecast.cpp; which unit a
binary operation takes was observed in the programs that TTNN 0.81.1 builds.
"""

from collections.abc import Callable

import numba
import torch

from ttnn_emulator.arithmetic import paths
from ttnn_emulator.arithmetic.compute import FusedOp
from ttnn_emulator.arithmetic.exact.matrix import eltwise_unit
from ttnn_emulator.arithmetic.exact.matrix.matrix_unit import unpack
from ttnn_emulator.arithmetic.exact.packer import pack, pack_bfloat16, pack_block_float
from ttnn_emulator.arithmetic.exact.vector import (
    vector_activations,
    vector_binary,
    vector_exponential,
    vector_functions,
    vector_linear_units,
    vector_logarithms,
    vector_powers,
    vector_roots,
    vector_special,
    vector_trigonometry,
    vector_typecast,
)
from ttnn_emulator.arithmetic.exact.vector.vector_unit import flush, round_to_bf16, store
from ttnn_emulator.arithmetic.formats import BLOCK_FORMAT_BITS, encode
from ttnn_emulator.arithmetic.rounded import rounded_eltwise

INTEGERS = {"int32", "uint32", "uint16", "uint8"}

# Functions whose instructions are followed.
FOLLOWED: dict[str, Callable[..., torch.Tensor]] = {
    **vector_activations.FOLLOWED,
    **vector_exponential.FOLLOWED,
    **vector_functions.FOLLOWED,
    **vector_linear_units.FOLLOWED,
    **vector_logarithms.FOLLOWED,
    **vector_roots.FOLLOWED,
    **vector_special.FOLLOWED,
    **vector_trigonometry.FOLLOWED,
    **vector_binary.FOLLOWED,
    **vector_powers.FOLLOWED,
    **vector_typecast.FOLLOWED,
}

# Those with a fast variant of other steps. That of the roots only skips the check of the sign, that
# of log1p nothing.
FAST = {"erf", "exp", "gelu", "log", "log10", "log2", "mish", "tanh"}

# Functions that never round: a result is a part of the operand or 0 or 1.
EXACT = {
    "ceil",
    "eqz",
    "floor",
    "frac",
    "gez",
    "gtz",
    "identity",
    "isfinite",
    "isinf",
    "isnan",
    "isneginf",
    "isposinf",
    "lez",
    "logical_not",
    "ltz",
    "nez",
    "signbit",
    "trunc",
}

# Integers wrap where they are stored, as the kernels' own do.
EXACT_OF_INTEGERS = EXACT | {
    "abs",
    "bitwise_not",
    "clamp",
    "fill",
    "maximum",
    "minimum",
    "neg",
    "pow",
    "power_iterative",
    "relu",
    "relu6",
    "relu_max",
    "relu_min",
    "remainder",
    "sign",
    "square",
}

NOT_FOLLOWED = {
    name: paths.approximation(f"{name} in float32")
    for name in rounded_eltwise.UNARY
    if name not in FOLLOWED and name not in EXACT_OF_INTEGERS  # bitwise_not takes integers alone
}
OF_INTEGERS = paths.approximation("other functions of integers than the exact ones in float32")


def has_fp32_dest(*dtypes: str) -> bool:
    """Whether a kernel that reads and writes these dtypes has a 32-bit destination."""
    return any(dtype == "float32" or dtype in INTEGERS for dtype in dtypes)


def in_dest(op: FusedOp, dst: torch.Tensor, fp32_dest_acc: bool) -> torch.Tensor:
    """A function's result in Dst, from its operand in Dst.

    Functions outside `FOLLOWED` are computed in float32 and rounded once; those in `EXACT` need no
    rounding.
    """
    if op.name in FOLLOWED:
        fast = {"approximate": True} if op.approximate and op.name in FAST else {}
        return FOLLOWED[op.name](dst, *op.numbers, fp32_dest_acc=fp32_dest_acc, **fast)
    if op.name not in EXACT:
        paths.tell(NOT_FOLLOWED[op.name])
    result = rounded_eltwise.UNARY[op.name](flush(dst), *op.numbers).float()
    return store(result if fp32_dest_acc else round_to_bf16(result), fp32_dest_acc)


def unary(
    x: torch.Tensor, *ops: FusedOp, dtype: str = "bfloat16", out: str = "bfloat16"
) -> torch.Tensor:
    """See `interface.Arithmetic`; the functions of one unary kernel."""
    if dtype in INTEGERS:
        if not EXACT_OF_INTEGERS.issuperset(op.name for op in ops):
            paths.tell(OF_INTEGERS)
        return rounded_eltwise.unary(x, *ops)
    fp32_dest_acc = has_fp32_dest(dtype, out)
    dst = x.float()
    for op in ops:
        dst = in_dest(op, dst, fp32_dest_acc)
    return packed(dst, out, fp32_dest_acc)


def packed(dst: torch.Tensor, out: str, fp32_dest_acc: bool) -> torch.Tensor:
    """Dst packed as `out`; an integer format takes the value as it is."""
    return dst if out in INTEGERS else pack(dst, out, fp32_dest_acc)


# --- sums of chips ------------------------------------------------------------------------------


def chip_sum(*terms: torch.Tensor, dtype: str, fp32_dest_acc: bool) -> torch.Tensor:
    """Terms folded into Dst by add_tiles, two at a time, then packed; an odd one is first.

    Of two terms that is all of line_reduction.cpp and most of ring_reduction.cpp
    (reduce_scatter_minimal_async/device/kernels). The latter's last step copies what came one way
    to Dst and adds what came the other way and the chip's own in one instruction.
    reduce_scatter_minimal_direct_compute.cpp and all_reduce_async's reduction.cpp fold all chips.
    """
    operands = [unpack(term, fp32_dest_acc).float() for term in terms]
    total = operands.pop(0) if len(operands) % 2 else None
    for a, b in zip(operands[::2], operands[1::2], strict=True):
        total = eltwise_unit.add(a, b, onto=total, fp32_dest_acc=fp32_dest_acc)
    assert total is not None  # there are terms
    return stored(total, dtype)


def moved(
    x: torch.Tensor,
    dtype: str,
    out: str | None = None,
    *,
    fp32_dest_acc: bool | None = None,
) -> torch.Tensor:
    """See `interface.Arithmetic`.

    Packing bfloat16 turns denormals and -0 into +0. Block formats have neither; `stored` encodes
    them.
    """
    out = out or dtype
    if dtype == out == "bfloat16":
        bits = x.contiguous().view(torch.int16)
        moved = torch.empty_like(bits)
        _move(bits.numpy().reshape(-1), moved.numpy().reshape(-1))
        return moved.view(torch.bfloat16)
    if dtype == out or dtype in INTEGERS or out in BLOCK_FORMAT_BITS:
        return x
    if dtype != "float32":
        return flush(x.float())
    if fp32_dest_acc is not None:
        x = unpack(x, fp32_dest_acc)
    return pack_bfloat16(x, fp32_dest_acc=fp32_dest_acc is not False)


def stored(values: torch.Tensor, dtype: str) -> torch.Tensor:
    """See `interface.Arithmetic`; a block format is as the packer makes it.

    Values that the block format represents exactly, as after a move, come out unchanged.
    """
    if dtype in BLOCK_FORMAT_BITS:
        return pack_block_float(values, dtype).bfloat16()
    return encode(values, dtype)


@numba.njit(nogil=True, cache=True)
def _move(patterns, moved):
    """bfloat16 patterns as the packer leaves them."""
    for i in range(moved.size):
        bits = patterns[i]
        exponent = bits & 0x7F80
        kept = bits & ~0x7F if exponent == 0x7F80 else bits
        moved[i] = kept if exponent != 0 else 0


def typecast(x: torch.Tensor, from_dtype: str, to_dtype: str) -> torch.Tensor:
    """See `interface.Arithmetic`; to floats as float32, to integers as integers."""
    if from_dtype in INTEGERS:
        return _from_integer(x, to_dtype)
    values = x.float()
    if to_dtype in INTEGERS:
        if to_dtype == "uint8":
            return values.clamp(0, 255).long()
        return getattr(vector_typecast, f"to_{to_dtype}")(values)
    if to_dtype == "float32":
        return flush(values)
    if to_dtype == "bfloat16":
        if from_dtype == "float32":
            values = vector_typecast.float32_to_bfloat16(values)
        return pack(values, to_dtype, fp32_dest_acc=False)
    return _pack_typecast(values, to_dtype)


def _pack_typecast(values: torch.Tensor, dtype: str) -> torch.Tensor:
    """A block format as typecast packs it: its packer reads the destination's own format for
    bfloat8_b (bfp8_pack_precise), bfloat8_b for bfloat4_b (seen in the programs of TTNN 0.81.1).
    """
    return pack_block_float(values, dtype, six_fraction_bits=dtype != "bfloat8_b")


def _from_integer(x: torch.Tensor, to_dtype: str) -> torch.Tensor:
    if to_dtype == "uint16":
        return vector_typecast.integer_to_uint16(x)
    if to_dtype in INTEGERS:
        return x.long()
    if to_dtype == "float32":
        return vector_typecast.integer_to_float32(x)
    values = vector_typecast.integer_to_bfloat16(x)
    return values if to_dtype == "bfloat16" else _pack_typecast(values, to_dtype)
