"""Loads and stores of vectors, elements and constants in contiguous arrays, without bounds checks.

Numba tests every index for being negative, to count from the end; in a loop of few instructions
that is half the work. A position here is an index of `array.flat`.
"""

from collections.abc import Callable

from llvmlite import ir
from numba import types
from numba.core import cgutils

from ttnn_emulator.arithmetic.exact.simd.lanes import (
    I8,
    I32,
    LLVM_TYPES,
    Int,
    Kind,
    Typed,
    Vector,
    intrinsic,
)

_STORED: dict[Kind, Kind] = {types.uint16: types.int16, types.uint32: types.int32}


def _address(context, builder, signature, args, kind):
    """The address of `array.flat[index]`, as that of an LLVM type `kind`."""
    start = args[0]
    if isinstance(signature.args[0], types.Array):
        start = context.make_array(signature.args[0])(context, builder, start).data
    return builder.bitcast(builder.gep(start, [args[1]]), kind.as_pointer())


@intrinsic
def pointer(typingctx: object, array: Kind, index: Kind) -> Typed:
    """Where position `index` of a contiguous array lies; the functions here take it for an array.

    Numba counts the references to arrays that a function is given or holds in a tuple. Pointers
    cost nothing, and keep nothing alive: they are for arguments of the function they are made in.
    """

    def generate(context, builder, signature, args):
        kind = LLVM_TYPES[_STORED.get(array.dtype, array.dtype)]
        return _address(context, builder, signature, args, kind)

    return types.CPointer(array.dtype)(array, types.intp), generate


@intrinsic(prefer_literal=True)
def load(typingctx: object, array: Kind, index: Kind, lanes: Kind) -> Typed:
    """`lanes` values from position `index` of a contiguous array; unsigned ones read as signed."""
    element = _STORED.get(array.dtype, array.dtype)
    result = Vector(element, lanes.literal_value)

    def generate(context, builder, signature, args):
        vector = context.get_value_type(result)
        pointer = _address(context, builder, signature, args, vector)
        return builder.load(pointer, align=element.bitwidth // 8)

    return result(array, types.intp, lanes), generate


@intrinsic
def element(typingctx: object, array: Kind, index: Kind) -> Typed:
    """The value at position `index` of a contiguous array; an unsigned one reads as signed."""
    result = _STORED.get(array.dtype, array.dtype)

    def generate(context, builder, signature, args):
        pointer = _address(context, builder, signature, args, LLVM_TYPES[result])
        return builder.load(pointer, align=result.bitwidth // 8)

    return result(array, types.intp), generate


@intrinsic
def store(typingctx: object, array: Kind, index: Kind, vector: Kind) -> Typed:
    """Put a vector at position `index` of a contiguous array of its elements' type."""

    def generate(context, builder, signature, args):
        pointer = _address(context, builder, signature, args, args[2].type)
        builder.store(args[2], pointer, align=vector.element.bitwidth // 8)
        return context.get_dummy_value()

    if array.dtype != vector.element:
        raise TypeError(f"{vector} does not fit an array of {array.dtype}")
    return types.none(array, types.intp, vector), generate


@intrinsic
def prefetch(typingctx: object, array: Kind, index: Kind) -> Typed:
    """Fetch what lies at position `index` of a contiguous array into the second-level cache."""

    def generate(context, builder, signature, args):
        pointer = _address(context, builder, signature, args, I8)
        declared = ir.FunctionType(ir.VoidType(), [I8.as_pointer(), I32, I32, I32])
        function = cgutils.get_or_insert_function(builder.module, declared, "llvm.prefetch.p0i8")
        read, moderate_locality, data = (ir.Constant(I32, value) for value in (0, 2, 1))
        builder.call(function, [pointer, read, moderate_locality, data])
        return context.get_dummy_value()

    return types.none(array, types.intp), generate


def constants_in_memory(*constants: int) -> Callable[[int], Int]:
    """A function that reads one of these int32 constants from memory, each time it is used.

    The load broadcasts it to all lanes at no cost. LLVM would keep a loop's constants in registers,
    and copy registers about once it has none left.

    The constants form one table, so that one register addresses all of them. Each has 16 bytes to
    itself: LLVM reads that many at once, and would have to separate constants that share them.
    """
    table_of = [value for constant in constants for value in (constant, 0, 0, 0)]
    kind = ir.ArrayType(I32, len(table_of))
    name = "constants_in_memory." + ".".join(f"{number & 0xFFFFFFFF:08x}" for number in constants)

    @intrinsic(prefer_literal=True)
    def in_memory(typingctx, constant):
        position = 4 * constants.index(constant.literal_value)

        def generate(context, builder, signature, args):
            table = builder.module.globals.get(name)
            if table is None:
                table = ir.GlobalVariable(builder.module, kind, name)
                table.initializer = ir.Constant(kind, table_of)
                # The linker might replace it, so LLVM assumes nothing about its contents.
                table.linkage = "linkonce"
            place = [ir.Constant(I32, 0), ir.Constant(I32, position)]
            return builder.load(builder.gep(table, place))

        return types.int32(constant), generate

    return in_memory
