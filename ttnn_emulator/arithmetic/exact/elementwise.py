"""Elementwise operations as the unary, binary_ng and typecast kernels compute them.

Operands are contents in storage dtype with their device dtype beside them; results are float32
values as the packer leaves them in the format `out`, or int64.  A kernel's destination has 32 bits
as soon as an operand or the result does.  Kernel sources: eltwise_sfpu.cpp,
eltwise_binary_no_bcast.cpp, eltwise_binary_sfpu_no_bcast.cpp, eltwise_typecast.cpp; which unit a
binary operation takes was observed in the programs that TTNN 0.81.1 builds.
"""

import numba
import numpy as np
import torch

from ttnn_emulator.arithmetic import paths
from ttnn_emulator.arithmetic.exact.matrix import eltwise_unit
from ttnn_emulator.arithmetic.exact.matrix.matrix_unit import unpack
from ttnn_emulator.arithmetic.exact.packer import pack, pack_bfloat16, pack_block_float
from ttnn_emulator.arithmetic.exact.vector import (
    vector_activations,
    vector_binary,
    vector_exponential,
    vector_functions,
    vector_roots,
    vector_typecast,
)
from ttnn_emulator.arithmetic.exact.vector.vector_unit import flush, round_to_bf16, store
from ttnn_emulator.arithmetic.formats import BLOCK_FORMAT_BITS, encode
from ttnn_emulator.arithmetic.rounded import rounded_eltwise

INTEGERS = {"int32", "uint32", "uint16", "uint8"}

# Functions whose instructions are followed: name -> (function, whether it has a fast variant).
FOLLOWED = {
    "abs": (vector_functions.absolute, False),
    "cos": (vector_functions.cos, False),
    "exp": (vector_exponential.exp, True),
    "fill": (vector_functions.fill, False),
    "gelu": (vector_activations.gelu, True),
    "log": (vector_functions.log, False),
    "neg": (vector_functions.negate, False),
    "reciprocal": (vector_roots.reciprocal, False),
    "relu": (vector_activations.relu, False),
    # Their fast variants only leave out the check of the sign.
    "rsqrt": (vector_roots.rsqrt, False),
    "sqrt": (vector_roots.sqrt, False),
    "sigmoid": (vector_activations.sigmoid, False),
    "silu": (vector_activations.silu, False),
    "sin": (vector_functions.sin, False),
    "square": (vector_functions.square, False),
    "tanh": (vector_activations.tanh, True),
}

# Functions that round nothing: a result is an operand, a part of one or a constant.
EXACT = {
    *(
        "ceil",
        "clamp",
        "eqz",
        "fill",
        "floor",
        "frac",
        "gez",
        "gtz",
        "identity",
        "isfinite",
        "isinf",
    ),
    *("isnan", "lez", "logical_not", "ltz", "nez", "relu6", "relu_max", "relu_min", "sign"),
    *("threshold", "trunc"),
}

EXACT_OF_INTEGERS = EXACT | {"abs", "neg", "relu", "square"}

NOT_FOLLOWED = {
    name: paths.approximation(f"{name} in float32")
    for name in rounded_eltwise.UNARY
    if name not in FOLLOWED and name not in EXACT and name != "softplus"
}
WIDE_SOFTPLUS = paths.approximation("softplus beside a 32-bit destination in float32")
OF_INTEGERS = paths.approximation("other functions of integers than the exact ones in float32")
POWER = paths.approximation("pow of two tensors in float32")

# Functions with a fast variant that is not followed; that of a root only leaves out the sign's check.
ACCURATE_INSTEAD = {
    name: paths.approximation(f"the fast {name} as the accurate one")
    for name, (_, has_fast_variant) in FOLLOWED.items()
    if name in ("log", "sigmoid") and not has_fast_variant
}


def is_wide(*dtypes):
    """Whether a kernel that reads and writes these dtypes has a 32-bit destination."""
    return any(dtype == "float32" or dtype in INTEGERS for dtype in dtypes)


def step_in_dest(step, dst, wide):
    """A `compute.Step` from Dst to Dst.

    Functions that are not in `FOLLOWED` are computed in float32 and rounded once, which those in
    `EXACT` need not be.
    """
    if step.name in FOLLOWED:
        function, has_fast_variant = FOLLOWED[step.name]
        fast = {"approximate": True} if has_fast_variant and step.approximate else {}
        if step.approximate and step.name in ACCURATE_INSTEAD:
            paths.tell(ACCURATE_INSTEAD[step.name])
        return function(dst, *step.numbers, fp32_dest=wide, **fast)
    if step.name == "softplus" and not wide:
        beta, threshold = (*step.numbers, 1.0, 20.0)[:2] if step.numbers else (1.0, 20.0)
        return vector_activations.softplus(dst, beta=beta, threshold=threshold)
    if step.name not in EXACT:
        paths.tell(NOT_FOLLOWED.get(step.name, WIDE_SOFTPLUS))
    result = rounded_eltwise.UNARY[step.name](flush(dst), *step.numbers).float()
    return store(result if wide else round_to_bf16(result), wide)


def unary(x, *steps, dtype="bfloat16", out="bfloat16"):
    """The steps of one unary kernel one after the other; see `rounded.unary`."""
    if dtype in INTEGERS:
        if not EXACT_OF_INTEGERS.issuperset(step.name for step in steps):
            paths.tell(OF_INTEGERS)
        return rounded_eltwise.unary(x, *steps)
    wide = is_wide(dtype, out)
    dst = x.float()
    for step in steps:
        dst = step_in_dest(step, dst, wide)
    return packed(dst, out, wide)


def packed(dst, out, wide):
    """Dst as the packer leaves it in `out`; an integer format takes the value as it is."""
    return dst if out in INTEGERS else pack(dst, out, wide)


# --- two operands --------------------------------------------------------------------------------


def _takes_vector_unit(operation, dtypes, fast):
    """Whether binary_ng gives an operation to the vector unit rather than the matrix unit."""
    if all(dtype == "float32" for dtype in dtypes):
        return True
    if fast is not None:
        return not fast
    return operation == "multiply" and not all(dtype in BLOCK_FORMAT_BITS for dtype in dtypes)


def _sum(a, b, operation, dtypes, fast, wide):
    if operation == "rsub":
        a, b = b, a
    minus = operation != "add"
    if _takes_vector_unit(operation, dtypes, fast):
        run = vector_binary.subtract if minus else vector_binary.add
        return run(a, b, fp32_dest=wide)
    run = eltwise_unit.subtract if minus else eltwise_unit.add
    return run(unpack(a, wide), unpack(b, wide), wide=wide)


def _product(a, b, operation, dtypes, fast, wide):
    if _takes_vector_unit(operation, dtypes, fast):
        return vector_binary.multiply(a, b, fp32_dest=wide)
    return eltwise_unit.multiply(unpack(a, wide), unpack(b, wide), fidelity="HiFi4", wide=wide)


def _squared_difference(a, b, operation, dtypes, fast, wide):
    difference = _sum(a, b, "subtract", dtypes, fast, wide)
    return vector_functions.square(difference, fp32_dest=wide)


def _quotient(a, b, operation, dtypes, fast, wide):
    return vector_binary.divide(a, b, fp32_dest=wide)


FOLLOWED_BINARY = {
    "add": _sum,
    "divide": _quotient,
    "multiply": _product,
    "rsub": _sum,
    "squared_difference": _squared_difference,
    "subtract": _sum,
}


def binary(
    operation,
    a,
    b,
    *,
    dtypes=("bfloat16", "bfloat16"),
    out="bfloat16",
    a_steps=(),
    b_steps=(),
    steps=(),
    fast=None,
):
    """An operation of two tensors that broadcast; see `rounded.binary`.

    Operations that are not in `FOLLOWED_BINARY` only choose (maximum, comparisons) and are exact,
    or (pow) are computed in float32 and rounded once.
    """
    if any(dtype in INTEGERS for dtype in dtypes):
        return rounded_eltwise.binary(
            operation, a, b, a_steps=a_steps, b_steps=b_steps, steps=steps
        )
    wide = is_wide(*dtypes, out)
    a = _prepared(a, a_steps, dtypes[0], wide)
    b = _prepared(b, b_steps, dtypes[1], wide)
    if operation in FOLLOWED_BINARY:
        dst = FOLLOWED_BINARY[operation](a, b, operation, dtypes, fast, wide)
    else:
        if operation == "pow":
            paths.tell(POWER)
        dst = rounded_eltwise.BINARY[operation](flush(a), flush(b)).float()
        dst = store(dst if wide else round_to_bf16(dst), wide)
    for step in steps:
        dst = step_in_dest(step, dst, wide)
    return packed(dst, out, wide)


def _prepared(x, steps, dtype, wide):
    """An operand after the steps fused to it, which go through a buffer of the operand's format."""
    x = x.float()
    if not steps:
        return x
    for step in steps:
        x = step_in_dest(step, x, wide)
    number = x.dim() == 0  # its buffer is bfloat16 beside a block format
    return pack(x, "bfloat16" if number and dtype in BLOCK_FORMAT_BITS else dtype, wide)


def where(condition, if_true, if_false, *, out="bfloat16"):
    """`if_true` where `condition` is not zero, `if_false` elsewhere; all three broadcast."""
    chosen = rounded_eltwise.where(condition, if_true, if_false)
    return chosen if out in INTEGERS else pack(chosen, out, wide=out == "float32")


def moved(x, dtype, out=None, *, wide=None):
    """Contents that a compute kernel only moves, on their way into an output.

    Args:
        x: contents of `dtype`.
        dtype, out: the operand's and the result's dtype; no `out` is the operand's.
        wide: where float32 goes through SrcA, whether Dst has 32 bits: the low bits of tf32 are
            dropped beside it, those of bfloat16 beside a 16-bit one.  None where float32 is
            unpacked to Dst, which drops nothing (tilize, untilize, transpose).

    Of bfloat16 the packer keeps no denormal and no -0; a block format has neither, and is made of
    the result when that is `stored`.
    """
    out = out or dtype
    if dtype == out == "bfloat16":
        bits = np.asarray(_moved(x.view(torch.int16).numpy()))
        return torch.from_numpy(bits).view(torch.bfloat16)
    if dtype == out or dtype in INTEGERS or out in BLOCK_FORMAT_BITS:
        return x
    if dtype != "float32":
        return flush(x.float())
    if wide is not None:
        x = unpack(x, wide)
    return pack_bfloat16(x, wide=wide is not False)


def stored(values, dtype):
    """What an output buffer holds of a kernel's result, in its storage dtype: a block format is the
    packer's.

    Values that a block format holds already, moved or packed in another way, come out as they are.
    """
    if dtype in BLOCK_FORMAT_BITS:
        return pack_block_float(values, dtype).bfloat16()
    return encode(values, dtype)


@numba.vectorize(["int16(int16)"], cache=True)
def _moved(bits):
    """A bfloat16 pattern as the packer leaves it."""
    exponent = bits & 0x7F80
    if exponent == 0:
        return 0
    return bits & ~0x7F if exponent == 0x7F80 else bits


def typecast(x, from_dtype, to_dtype):
    """Values of `x` as `ttnn.typecast` converts them: floats as float32, integers as integers."""
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
        return pack(values, to_dtype, wide=False)
    return _pack_typecast(values, to_dtype)


def _pack_typecast(values, dtype):
    """A block format as typecast packs it: its packer reads the destination's own format for
    bfloat8_b (bfp8_pack_precise), bfloat8_b for bfloat4_b (seen in the programs of TTNN 0.81.1).
    """
    return pack_block_float(values, dtype, six_fraction_bits=dtype != "bfloat8_b")


def _from_integer(x, to_dtype):
    if to_dtype == "uint16":
        return vector_typecast.integer_to_uint16(x)
    if to_dtype in INTEGERS:
        return x.long()
    if to_dtype == "float32":
        return vector_typecast.integer_to_float32(x)
    values = vector_typecast.integer_to_bfloat16(x)
    return values if to_dtype == "bfloat16" else _pack_typecast(values, to_dtype)
