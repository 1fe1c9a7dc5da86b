"""Operations of one machine instruction each, on single values and on vectors of them.

Numba widens every integer expression to 64 bits and has no fused multiply-add, no reinterpretation
of bits and no vector types. Each function here is one LLVM instruction (or two) of a fixed width.
It takes scalars, whose loops LLVM can vectorise, or a `Vector`; a scalar beside a vector is
broadcast to every lane. LLVM splits vectors that are wider than the machine's. Float vectors have
+, - and * as well. Nothing here reorders or contracts float operations.
"""

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic as numba_intrinsic
from numba.extending import models, overload, register_model

I8 = ir.IntType(8)
I16 = ir.IntType(16)
I32 = ir.IntType(32)
_F32 = ir.FloatType()

LLVM_TYPES: dict[Any, ir.Type] = {
    types.boolean: ir.IntType(1),
    types.int8: I8,
    types.int16: I16,
    types.int32: I32,
    types.int64: ir.IntType(64),
    types.float32: _F32,
}


# A scalar or a `Vector` of them within compiled code. To Python it is neither: Numba types it.
Int = Any
Float = Any

# Numba's type of an operand: Vector, Array, Literal, whichever an intrinsic asks for.
Kind = Any

# What an intrinsic returns when it is compiled: its signature, and what emits its code.
Typed = tuple[Any, Callable]

# Numba types the result as the function decorated, but compiled code calls it without the context.
intrinsic: Callable[..., Any] = numba_intrinsic


class Vector(types.Type):
    """Numba's type of a vector: `lanes` values of type `element`."""

    def __init__(self, element: types.Type, lanes: int) -> None:
        self.element = element
        self.lanes = lanes
        super().__init__(f"Vector({element}, {lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: object, vector: Vector) -> None:
        kind = ir.VectorType(LLVM_TYPES[vector.element], vector.lanes)
        super().__init__(manager, vector, kind)


def in_every_lane(builder: ir.IRBuilder, value: ir.Value, lanes: int) -> ir.Value:
    """Emit a vector of which every lane is one LLVM value."""
    vector = ir.VectorType(value.type, lanes)
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(I32, 0))
    return builder.shuffle_vector(
        first, undefined, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes)
    )


def _operation(result, elements, emit):
    """An intrinsic that emits `emit(builder, *operands)` for scalars or vectors of `elements`."""

    def typed(*kinds):
        lanes = max(kind.lanes if isinstance(kind, Vector) else 0 for kind in kinds)

        def of(element):
            return Vector(element, lanes) if lanes else element

        for element, kind in zip(elements, kinds, strict=True):
            if isinstance(kind, Vector) and kind != of(element):
                raise TypeError(f"the operand should be {of(element)}, not {kind}")
        operands = [
            kind if isinstance(kind, Vector) else element
            for element, kind in zip(elements, kinds, strict=True)
        ]

        def generate(context, builder, signature, args):
            spread = [
                in_every_lane(builder, value, lanes) if lanes and kind in elements else value
                for value, kind in zip(args, signature.args, strict=True)
            ]
            return emit(builder, *spread)

        return of(result)(*operands), generate

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
sub16 = _operation(types.int16, _INT16, _plain("sub"))
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
unsigned_max32 = _operation(types.int32, _INT32, _chosen("icmp_unsigned", ">"))
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
negated = _operation(types.float32, (types.float32,), _plain("fneg"))

either = _operation(types.boolean, (types.boolean, types.boolean), _plain("or_"))
bytes_of = _operation(types.int8, (types.int16,), _cast("trunc", I8))
float_of = _operation(types.float32, (types.int32,), _cast("bitcast", _F32))
bits_of = _operation(types.int32, (types.float32,), _cast("bitcast", I32))
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
    return None


@overload(operator.sub)
def _subtracted(x, y):
    if _vectors(x, y):
        return lambda x, y: _subtract(x, y)
    return None


@overload(operator.mul)
def _multiplied(x, y):
    if _vectors(x, y):
        return lambda x, y: _multiply(x, y)
    return None
