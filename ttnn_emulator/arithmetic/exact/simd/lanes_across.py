"""Operations that move values between the lanes of vectors, or look at all lanes of one."""

from llvmlite import ir
from numba import types
from numba.core import cgutils

from ttnn_emulator.arithmetic.exact.simd.lanes import (
    I16,
    I32,
    Kind,
    Typed,
    Vector,
    in_every_lane,
    intrinsic,
)

# A machine's wide vector is made of parts of 16 bytes, within which moving is cheapest.
_PART = 16


def _shuffled(builder, first, second, lanes):
    mask = ir.Constant(ir.VectorType(I32, len(lanes)), lanes)
    return builder.shuffle_vector(first, second, mask)


@intrinsic(prefer_literal=True)
def half32(typingctx: object, vector: Kind, half: Kind) -> Typed:
    """The lower (0) or the upper (1) half of an int16 vector, as int32."""
    lanes, first = vector.lanes // 2, half.literal_value * (vector.lanes // 2)

    def generate(context, builder, signature, args):
        part = _shuffled(builder, args[0], args[0], list(range(first, first + lanes)))
        return builder.sext(part, ir.VectorType(I32, lanes))

    return Vector(types.int32, lanes)(vector, half), generate


@intrinsic(prefer_literal=True)
def upper32(typingctx: object, vector: Kind, odd: Kind) -> Typed:
    """The even (0) or the odd (1) lanes of an int16 vector, as the upper halves of int32."""
    lanes, of_odd = vector.lanes // 2, odd.literal_value

    def generate(context, builder, signature, args):
        kind = ir.VectorType(I32, lanes)
        pairs = builder.bitcast(args[0], kind)
        if of_odd:
            return builder.and_(pairs, ir.Constant(kind, [-0x10000] * lanes))
        return builder.shl(pairs, ir.Constant(kind, [16] * lanes))

    return Vector(types.int32, lanes)(vector, odd), generate


@intrinsic(prefer_literal=True)
def alternate_lanes(typingctx: object, first: Kind, second: Kind, odd: Kind) -> Typed:
    """The even (0) or the odd (1) lanes of two vectors one after the other."""
    lanes = range(odd.literal_value, 2 * first.lanes, 2)

    def generate(context, builder, signature, args):
        return _shuffled(builder, *args[:2], list(lanes))

    return first(first, second, odd), generate


@intrinsic(prefer_literal=True)
def in_turn(typingctx: object, even: Kind, odd: Kind, half: Kind) -> Typed:
    """The first (0) or the second (1) of the two vectors of which `alternate_lanes` made these."""
    start = half.literal_value * even.lanes // 2
    lanes = [start + i // 2 + i % 2 * even.lanes for i in range(even.lanes)]

    def generate(context, builder, signature, args):
        return _shuffled(builder, *args[:2], lanes)

    return even(even, odd, half), generate


@intrinsic
def joined16(typingctx: object, low: Kind, high: Kind) -> Typed:
    """The low 16 bits of two int32 vectors, one after the other."""
    lanes = 2 * low.lanes

    def generate(context, builder, signature, args):
        parts = [builder.trunc(part, ir.VectorType(I16, low.lanes)) for part in args]
        return _shuffled(builder, *parts, list(range(lanes)))

    return Vector(types.int16, lanes)(low, high), generate


def _repeated(element, lanes):
    """An intrinsic's signature and code: the parts of an int32, repeated to so many lanes."""
    result = Vector(element, lanes.literal_value)

    def generate(context, builder, signature, args):
        vector = in_every_lane(builder, args[0], result.lanes * element.bitwidth // 32)
        return builder.bitcast(vector, context.get_value_type(result))

    return result(types.int32, lanes), generate


@intrinsic(prefer_literal=True)
def twice16(typingctx: object, pair: Kind, lanes: Kind) -> Typed:
    """An int16 vector that repeats the two halves of an int32."""
    return _repeated(types.int16, lanes)


@intrinsic(prefer_literal=True)
def four8(typingctx: object, four: Kind, lanes: Kind) -> Typed:
    """An int8 vector that repeats the four bytes of an int32."""
    return _repeated(types.int8, lanes)


@intrinsic
def interleaved8(typingctx: object, low: Kind, high: Kind) -> Typed:
    """64 bytes of two int8 vectors, for four vectors of 16 lanes, as `exponents32` takes them.

    Each 16 bytes then hold four of every vector's: a 4 x 4 transpose of fours of bytes.
    """
    lanes = [
        _PART * vector + 4 * part + i for part in range(4) for vector in range(4) for i in range(4)
    ]

    def generate(context, builder, signature, args):
        return _shuffled(builder, *args, lanes)

    return Vector(types.int8, len(lanes))(low, high), generate


def _halves_in_turn(builder, low, high, half):
    """The lower (0) or upper (1) half of each part of two vectors, their elements in turn."""
    count = low.type.count
    each = 8 * _PART // low.type.element.width
    lanes = [
        part + each // 2 * half + i + side
        for part in range(0, count, each)
        for i in range(each // 2)
        for side in (0, count)
    ]
    return _shuffled(builder, low, high, lanes)


@intrinsic(prefer_literal=True)
def exponents32(typingctx: object, sums: Kind, number: Kind) -> Typed:
    """The bytes of vector `number`, 0 to 3, out of 64 in the order of `interleaved8`, as int32.

    They are read as unsigned and shifted left by 23 bits, into float32's exponent field.
    """
    lanes = sums.lanes // 4

    def generate(context, builder, signature, args):
        half, quarter = divmod(number.literal_value, 2)
        words = ir.VectorType(I16, 2 * lanes)
        eight_up = _halves_in_turn(builder, ir.Constant(args[0].type, None), args[0], half)
        seven_up = builder.lshr(
            builder.bitcast(eight_up, words), ir.Constant(words, [1] * 2 * lanes)
        )
        result = _halves_in_turn(builder, ir.Constant(words, None), seven_up, quarter)
        return builder.bitcast(result, ir.VectorType(I32, lanes))

    return Vector(types.int32, lanes)(sums, number), generate


@intrinsic
def unsigned_largest(typingctx: object, vector: Kind) -> Typed:
    """The largest lane of a vector of integers, read as unsigned, as int64."""

    def generate(context, builder, signature, args):
        kind = args[0].type
        declared = ir.FunctionType(kind.element, [kind])
        name = f"llvm.vector.reduce.umax.v{kind.count}{kind.element.intrinsic_name}"
        function = cgutils.get_or_insert_function(builder.module, declared, name)
        return builder.zext(builder.call(function, args), ir.IntType(64))

    return types.int64(vector), generate


@intrinsic
def in_any_lane(typingctx: object, condition: Kind) -> Typed:
    """Whether a vector of booleans has a true one."""

    def generate(context, builder, signature, args):
        word = ir.IntType(condition.lanes)
        return builder.icmp_unsigned("!=", builder.bitcast(args[0], word), ir.Constant(word, 0))

    return types.boolean(condition), generate
