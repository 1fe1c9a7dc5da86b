"""Operations of one machine instruction each, on single values and on vectors of them.

Numba widens every integer expression to 64 bits and has no fused multiply-add, no reinterpretation
of bits and no vector types.  Each function here is one LLVM instruction (or two) of a fixed width.
It takes scalars, of whose loops LLVM can make vector code, or a `Vector`; a scalar beside a vector
stands for that value in every lane.  LLVM splits vectors that are wider than the machine's.  Float
vectors have + - * as well.  Nothing here reorders or contracts float operations.
"""

import operator

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

_I8 = ir.IntType(8)
_I16 = ir.IntType(16)
_I32 = ir.IntType(32)
_F32 = ir.FloatType()

_LLVM = {
    types.boolean: ir.IntType(1),
    types.int8: _I8,
    types.int16: _I16,
    types.int32: _I32,
    types.int64: ir.IntType(64),
    types.float32: _F32,
}
_STORED = {types.uint16: types.int16, types.uint32: types.int32}


class Vector(types.Type):
    """Numba's type of a vector: `lanes` values of type `element`."""

    def __init__(self, element, lanes):
        self.element = element
        self.lanes = lanes
        super().__init__(f"Vector({element}, {lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, vector):
        kind = ir.VectorType(_LLVM[vector.element], vector.lanes)
        super().__init__(manager, vector, kind)


def _in_every_lane(builder, value, lanes):
    vector = ir.VectorType(value.type, lanes)
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(
        first, undefined, ir.Constant(ir.VectorType(_I32, lanes), [0] * lanes)
    )


def _operation(result, elements, emit):
    """An intrinsic that emits `emit(builder, *operands)` for scalars or vectors of `elements`."""

    def typed(*kinds):
        lanes = max(kind.lanes if isinstance(kind, Vector) else 0 for kind in kinds)

        def of(element):
            return Vector(element, lanes) if lanes else element

        for element, kind in zip(elements, kinds):
            if isinstance(kind, Vector) and kind != of(element):
                raise TypeError(f"the operand should be {of(element)}, not {kind}")
        given = [
            kind if isinstance(kind, Vector) else element for element, kind in zip(elements, kinds)
        ]

        def generate(context, builder, signature, args):
            spread = [
                _in_every_lane(builder, value, lanes) if lanes and kind in elements else value
                for value, kind in zip(args, signature.args)
            ]
            return emit(builder, *spread)

        return of(result)(*given), generate

    if len(elements) == 1:
        return intrinsic(lambda typingctx, x: typed(x))
    if len(elements) == 2:
        return intrinsic(lambda typingctx, x, y: typed(x, y))
    return intrinsic(lambda typingctx, x, y, z: typed(x, y, z))


def _reshaped(value, element):
    """The LLVM type that has as many lanes as `value`, each an `element`."""
    if isinstance(value.type, ir.VectorType):
        return ir.VectorType(element, value.type.count)
    return element


def _cast(instruction, element):
    return lambda builder, x: getattr(builder, instruction)(x, _reshaped(x, element))


def _plain(instruction):
    return lambda builder, *operands: getattr(builder, instruction)(*operands)


def _compare(instruction, sign):
    return lambda builder, x, y: getattr(builder, instruction)(sign, x, y)


def _chosen(instruction, sign):
    """x where `x sign y` holds and y elsewhere."""
    return lambda builder, x, y: builder.select(getattr(builder, instruction)(sign, x, y), x, y)


def _call(name, *flags, fastmath=()):
    """A call of an LLVM function that is overloaded by its operands' type; `flags` follow them."""

    def emit(builder, *operands):
        kind, flag = operands[0].type, ir.IntType(1)
        if isinstance(kind, ir.VectorType):
            suffix = f".v{kind.count}{kind.element.intrinsic_name}"
        else:
            suffix = f".{kind.intrinsic_name}"
        declared = ir.FunctionType(kind, [kind] * len(operands) + [flag] * len(flags))
        function = cgutils.get_or_insert_function(builder.module, declared, name + suffix)
        extra = [ir.Constant(flag, value) for value in flags]
        return builder.call(function, [*operands, *extra], fastmath=fastmath)

    return emit


_INT8 = (types.int8, types.int8)
_INT16 = (types.int16, types.int16)
_INT32 = (types.int32, types.int32)
_FLOAT32 = (types.float32, types.float32)

add8 = _operation(types.int8, _INT8, _plain("add"))
sub8 = _operation(types.int8, _INT8, _plain("sub"))
unsigned_max8 = _operation(types.int8, _INT8, _chosen("icmp_unsigned", ">"))
unsigned_min8 = _operation(types.int8, _INT8, _chosen("icmp_unsigned", "<"))
below8 = _operation(types.boolean, _INT8, _compare("icmp_unsigned", "<"))

add16 = _operation(types.int16, _INT16, _plain("add"))
and16 = _operation(types.int16, _INT16, _plain("and_"))
or16 = _operation(types.int16, _INT16, _plain("or_"))
max16 = _operation(types.int16, _INT16, _chosen("icmp_signed", ">"))
unsigned_min16 = _operation(types.int16, _INT16, _chosen("icmp_unsigned", "<"))
shift_right16 = _operation(types.int16, _INT16, _plain("ashr"))
above16 = _operation(types.int16, _INT16, _call("llvm.usub.sat"))
below16 = _operation(types.boolean, _INT16, _compare("icmp_unsigned", "<"))

add32 = _operation(types.int32, _INT32, _plain("add"))
sub32 = _operation(types.int32, _INT32, _plain("sub"))
max32 = _operation(types.int32, _INT32, _chosen("icmp_signed", ">"))
min32 = _operation(types.int32, _INT32, _chosen("icmp_signed", "<"))
and32 = _operation(types.int32, _INT32, _plain("and_"))
or32 = _operation(types.int32, _INT32, _plain("or_"))
xor32 = _operation(types.int32, _INT32, _plain("xor"))
unsigned_min32 = _operation(types.int32, _INT32, _chosen("icmp_unsigned", "<"))
shift_left = _operation(types.int32, _INT32, _plain("shl"))
shift_right = _operation(types.int32, _INT32, _plain("ashr"))
abs32 = _operation(types.int32, (types.int32,), _call("llvm.abs", 0))
equal32 = _operation(types.boolean, _INT32, _compare("icmp_signed", "=="))
greater32 = _operation(types.boolean, _INT32, _compare("icmp_signed", ">"))
below32 = _operation(types.boolean, _INT32, _compare("icmp_unsigned", "<"))
select32 = _operation(types.int32, (types.boolean, *_INT32), _plain("select"))

leading_zeros64 = _operation(types.int64, (types.int64,), _call("llvm.ctlz", 1))  # of 0: undefined

fma = _operation(types.float32, (*_FLOAT32, types.float32), _call("llvm.fma"))
equal = _operation(types.boolean, _FLOAT32, _compare("fcmp_ordered", "=="))
larger = _operation(types.float32, _FLOAT32, _call("llvm.maxnum", fastmath=("nnan", "nsz")))
smaller = _operation(types.float32, _FLOAT32, _call("llvm.minnum", fastmath=("nnan", "nsz")))
select = _operation(types.float32, (types.boolean, *_FLOAT32), _plain("select"))
truncated = _operation(types.float32, (types.float32,), _call("llvm.trunc"))

either = _operation(types.boolean, (types.boolean, types.boolean), _plain("or_"))
bytes_of = _operation(types.int8, (types.int16,), _cast("trunc", _I8))
float_of = _operation(types.float32, (types.int32,), _cast("bitcast", _F32))
bits_of = _operation(types.int32, (types.float32,), _cast("bitcast", _I32))
converted = _operation(types.float32, (types.int32,), _cast("sitofp", _F32))

float_of.__doc__ = "The float32 whose bits are an int32."
bits_of.__doc__ = "The bits of a float32 as int32."
converted.__doc__ = "The float32 nearest to an int32, ties to even."
fma.__doc__ = "x*y + z in float32 with one rounding."
above16.__doc__ = "By how much x is above y, both unsigned; 0 if it is not."
bytes_of.__doc__ = "The low 8 bits of an int16."
below8.__doc__ = below16.__doc__ = below32.__doc__ = "x < y of the bits read as unsigned integers."

_add = _operation(types.float32, _FLOAT32, _plain("fadd"))
_subtract = _operation(types.float32, _FLOAT32, _plain("fsub"))
_multiply = _operation(types.float32, _FLOAT32, _plain("fmul"))


def _vectors(x, y):
    return isinstance(x, Vector) or isinstance(y, Vector)


@overload(operator.add)
def _added(x, y):
    if _vectors(x, y):
        return lambda x, y: _add(x, y)


@overload(operator.sub)
def _subtracted(x, y):
    if _vectors(x, y):
        return lambda x, y: _subtract(x, y)


@overload(operator.mul)
def _multiplied(x, y):
    if _vectors(x, y):
        return lambda x, y: _multiply(x, y)


def _address(context, builder, signature, args, vector):
    """The address of `array.flat[index]`, as that of a vector."""
    array = context.make_array(signature.args[0])(context, builder, args[0])
    return builder.bitcast(builder.gep(array.data, [args[1]]), vector.as_pointer())


@intrinsic(prefer_literal=True)
def load(typingctx, array, index, lanes):
    """`lanes` values from position `index` of a contiguous array; unsigned ones read as signed."""
    element = _STORED.get(array.dtype, array.dtype)
    result = Vector(element, lanes.literal_value)

    def generate(context, builder, signature, args):
        vector = context.get_value_type(result)
        pointer = _address(context, builder, signature, args, vector)
        return builder.load(pointer, align=element.bitwidth // 8)

    return result(array, types.intp, lanes), generate


@intrinsic
def prefetch(typingctx, array, index):
    """Have what lies at position `index` of a contiguous array fetched into the second-level cache."""

    def generate(context, builder, signature, args):
        pointer = _address(context, builder, signature, args, _I8)
        declared = ir.FunctionType(ir.VoidType(), [_I8.as_pointer(), _I32, _I32, _I32])
        function = cgutils.get_or_insert_function(builder.module, declared, "llvm.prefetch.p0i8")
        read, moderate_locality, data = (ir.Constant(_I32, value) for value in (0, 2, 1))
        builder.call(function, [pointer, read, moderate_locality, data])
        return context.get_dummy_value()

    return types.none(array, types.intp), generate


@intrinsic
def store(typingctx, array, index, vector):
    """Put a vector at position `index` of a contiguous array of its elements' type."""

    def generate(context, builder, signature, args):
        pointer = _address(context, builder, signature, args, args[2].type)
        builder.store(args[2], pointer, align=vector.element.bitwidth // 8)
        return context.get_dummy_value()

    if array.dtype != vector.element:
        raise TypeError(f"{vector} does not fit an array of {array.dtype}")
    return types.none(array, types.intp, vector), generate


@intrinsic(prefer_literal=True)
def half32(typingctx, vector, half):
    """The lower (0) or the upper (1) half of an int16 vector, as int32."""
    lanes, first = vector.lanes // 2, half.literal_value * (vector.lanes // 2)

    def generate(context, builder, signature, args):
        mask = ir.Constant(ir.VectorType(_I32, lanes), list(range(first, first + lanes)))
        part = builder.shuffle_vector(args[0], args[0], mask)
        return builder.sext(part, ir.VectorType(_I32, lanes))

    return Vector(types.int32, lanes)(vector, half), generate


@intrinsic
def joined16(typingctx, low, high):
    """The low 16 bits of two int32 vectors, one after the other."""
    lanes = 2 * low.lanes

    def generate(context, builder, signature, args):
        parts = [builder.trunc(part, ir.VectorType(_I16, low.lanes)) for part in args]
        return builder.shuffle_vector(
            *parts, ir.Constant(ir.VectorType(_I32, lanes), list(range(lanes)))
        )

    return Vector(types.int16, lanes)(low, high), generate


@intrinsic(prefer_literal=True)
def twice16(typingctx, pair, lanes):
    """An int16 vector that repeats the two halves of an int32."""
    count = lanes.literal_value

    def generate(context, builder, signature, args):
        pairs = _in_every_lane(builder, args[0], count // 2)
        return builder.bitcast(pairs, ir.VectorType(_I16, count))

    return Vector(types.int16, count)(types.int32, lanes), generate


@intrinsic(prefer_literal=True)
def quarter32(typingctx, vector, quarter):
    """A quarter (0 to 3) of an int8 vector, read as unsigned, as int32."""
    lanes = vector.lanes // 4
    first = quarter.literal_value * lanes

    def generate(context, builder, signature, args):
        mask = ir.Constant(ir.VectorType(_I32, lanes), list(range(first, first + lanes)))
        part = builder.shuffle_vector(args[0], args[0], mask)
        return builder.zext(part, ir.VectorType(_I32, lanes))

    return Vector(types.int32, lanes)(vector, quarter), generate


@intrinsic(prefer_literal=True)
def four8(typingctx, four, lanes):
    """An int8 vector that repeats the four bytes of an int32."""
    count = lanes.literal_value

    def generate(context, builder, signature, args):
        fours = _in_every_lane(builder, args[0], count // 4)
        return builder.bitcast(fours, ir.VectorType(_I8, count))

    return Vector(types.int8, count)(types.int32, lanes), generate


@intrinsic
def in_any_lane(typingctx, condition):
    """Whether a vector of booleans has a true one."""

    def generate(context, builder, signature, args):
        word = ir.IntType(condition.lanes)
        return builder.icmp_unsigned("!=", builder.bitcast(args[0], word), ir.Constant(word, 0))

    return types.boolean(condition), generate


@intrinsic(prefer_literal=True)
def in_memory(typingctx, constant):
    """A constant int32 that is read from memory each time instead of keeping it in a register.

    The machine broadcasts it to all lanes while reading, at no cost.  LLVM would keep a constant
    of a loop in a register, and where it has none left would copy registers about.
    """
    number = constant.literal_value

    def generate(context, builder, signature, args):
        name = f"constant_in_memory.{number & 0xFFFFFFFF:08x}"
        held = builder.module.globals.get(name)
        if held is None:
            held = ir.GlobalVariable(builder.module, _I32, name)
            held.initializer = ir.Constant(_I32, number)
            held.linkage = "linkonce"  # it might be replaced in linking: nothing is assumed of it
        return builder.load(held)

    return types.int32(constant), generate
