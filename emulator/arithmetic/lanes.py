"""Scalar operations that numba lacks, written so that its loops over them become vector code.

Numba widens every integer expression to 64 bits, which halves or quarters the lanes of a vector
loop, and has no fused multiply-add and no reinterpretation of bits.  Each function here is one
LLVM instruction (or two) of a fixed width.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_I16 = ir.IntType(16)
_I32 = ir.IntType(32)
_F32 = ir.FloatType()


@intrinsic
def float_of(typingctx, pattern):
    """The float32 whose bits are the low 32 bits of `pattern`."""

    def generate(context, builder, signature, args):
        bits = args[0]
        if bits.type.width > 32:
            bits = builder.trunc(bits, _I32)
        return builder.bitcast(bits, _F32)

    return types.float32(pattern), generate


@intrinsic
def bits_of(typingctx, value):
    """The bits of a float32 as int32."""

    def generate(context, builder, signature, args):
        return builder.bitcast(args[0], _I32)

    return types.int32(types.float32), generate


@intrinsic
def fma(typingctx, x, y, z):
    """x*y + z in float32 with one rounding."""

    def generate(context, builder, signature, args):
        return builder.fma(*args)

    return types.float32(types.float32, types.float32, types.float32), generate


@intrinsic
def source_bits(typingctx, stored):
    """float32 bits of an operand: uint16 holds bfloat16, uint32 a float32 read as tf32."""

    def generate(context, builder, signature, args):
        if signature.args[0].bitwidth == 16:
            return builder.shl(builder.zext(args[0], _I32), ir.Constant(_I32, 16))
        return builder.and_(args[0], ir.Constant(_I32, 0xFFFFE000))

    if stored not in (types.uint16, types.uint32):
        raise TypeError(f"operands are stored as uint16 or uint32, not {stored}")
    return types.uint32(stored), generate


@intrinsic
def source_exponent(typingctx, stored, empty):
    """Biased exponent of an operand (see `source_bits`) as int16, or `empty` where it is zero."""

    def generate(context, builder, signature, args):
        bits, empty = args
        width = signature.args[0].bitwidth
        kind = bits.type
        shifted = builder.lshr(bits, ir.Constant(kind, 7 if width == 16 else 23))
        exponent = builder.and_(shifted, ir.Constant(kind, 0xFF))
        if width == 32:
            exponent = builder.trunc(exponent, _I16)
        zero = builder.icmp_unsigned("==", exponent, ir.Constant(_I16, 0))
        return builder.select(zero, empty, exponent)

    return types.int16(stored, types.int16), generate


def _binary(kind, emit):
    """An intrinsic of two equal integers that emits one instruction."""

    @intrinsic
    def operation(typingctx, x, y):
        def generate(context, builder, signature, args):
            return emit(builder, *args)

        return kind(kind, kind), generate

    return operation


def _larger(builder, x, y):
    return builder.select(builder.icmp_signed(">", x, y), x, y)


def _smaller(builder, x, y):
    return builder.select(builder.icmp_signed("<", x, y), x, y)


@intrinsic
def abs32(typingctx, value):
    """The magnitude of an int32."""

    def generate(context, builder, signature, args):
        kind = ir.FunctionType(_I32, [_I32, ir.IntType(1)])
        function = builder.module.declare_intrinsic("llvm.abs", [_I32], kind)
        return builder.call(function, [args[0], ir.Constant(ir.IntType(1), 0)])

    return types.int32(types.int32), generate


add16 = _binary(types.int16, lambda builder, x, y: builder.add(x, y))
max16 = _binary(types.int16, _larger)
add32 = _binary(types.int32, lambda builder, x, y: builder.add(x, y))
sub32 = _binary(types.int32, lambda builder, x, y: builder.sub(x, y))
max32 = _binary(types.int32, _larger)
min32 = _binary(types.int32, _smaller)
and32 = _binary(types.int32, lambda builder, x, y: builder.and_(x, y))
or32 = _binary(types.int32, lambda builder, x, y: builder.or_(x, y))
xor32 = _binary(types.int32, lambda builder, x, y: builder.xor(x, y))
shift_left = _binary(types.int32, lambda builder, x, y: builder.shl(x, y))
shift_right = _binary(types.int32, lambda builder, x, y: builder.ashr(x, y))
