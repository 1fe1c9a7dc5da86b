"""Elementwise ops: sums, products, activations, exp and the roots."""

import torch
import ttnn
from transformers.activations import ACT2FN

from ttnn_verify.numerics import op_floors

from .operands import memory_config, on
from .opinfo import PLAIN, Op, Operand, Refused, Sample, extreme, massive, plain

BF16, FP32, BFP8 = ttnn.bfloat16, ttnn.float32, ttnn.bfloat8_b
INTERMEDIATE = (1, 1, 32, 8192)  # Phi-3-mini's MLP
HIDDEN = (1, 1, 128, 3072)
SMALL = (1, 1, 37, 80)

# (shape, dtype, memory)
SMALL_CALLS = [
    ((32, 32), BF16, "dram"),
    (SMALL, BF16, "dram"),
    (SMALL, FP32, "dram"),
    (SMALL, BFP8, "dram"),
    ((2, 3, 1, 33), BF16, "l1"),
    ((2, 2, 64, 96), BF16, "height"),
    ((1, 1, 64, 256), BF16, "block"),
    ((1, 1, 32, 512), BF16, "width"),
]


def rounded(golden, *operands, dtype=BF16, **kwargs):
    """One rounding to the output's dtype."""
    return op_floors.output(golden, dtype.name.lower())


# --- one operand ---------------------------------------------------------------------------------


def unary(name, golden, floor, domain=lambda x: x, low=-100, high=100, errors=()):
    """An entry for `ttnn.<name>`; `domain` maps normal values to where the function is used."""

    def sample(shape, dtype=BF16, memory="dram", values=plain):
        def make():
            x = extreme(*shape, low=low, high=high) if values is extreme else values(*shape)
            return (Operand(domain(x), dtype, memory=memory),)

        return Sample(shape, make, dtype, memory, PLAIN[values], {"dtype": dtype})

    call = getattr(ttnn, name)
    return Op(
        name,
        call=lambda x, dtype: call(x),
        golden=lambda x, dtype: golden(x),
        floor=floor,
        samples=tuple(sample(*how) for how in SMALL_CALLS),
        references=(
            sample(INTERMEDIATE),
            sample(HIDDEN, values=massive),
            sample((1, 1, 128, 96), values=extreme),
        ),
        errors=(
            # TTNN 0.81.1 dies of a host tensor, so none is among these calls.
            Refused(
                "shards",
                lambda device: call(
                    on(device, plain(32, 64)),
                    memory_config=memory_config("height", (32, 128), device),
                ),
                "Shard width 128 must match physical width 64",
            ),
            Refused(
                "output-shape",
                lambda device: call(
                    on(device, plain(32, 64)), output_tensor=on(device, plain(64, 64))
                ),
                "Preallocated output shape must match",
            ),
            Refused("torch", lambda device: call(plain(32, 32)), "incompatible function arguments"),
            *errors,
        ),
    )


def by_function(function):
    """The floor of a function of the vector unit, by its published bound (op_floors.vector)."""

    def floor(golden, x, dtype):
        return op_floors.vector(golden, dtype.name.lower(), function)

    return floor


def positive(x):
    """Values greater than a tenth of their row, so that no format takes one for zero."""
    return x.abs() + x.abs().mean(-1, keepdim=True) / 4


def away_from_zero(x):
    return positive(x).copysign(x)


def of_integers(name):
    return Refused(
        "integers",
        lambda device: getattr(ttnn, name)(
            on(device, torch.ones(32, 32, dtype=torch.int32), ttnn.int32)
        ),
        "does not support integer input",
    )


def activation(name):
    return unary(name, ACT2FN[name], by_function(name), errors=(of_integers(name),))


UNARY = [
    unary("relu", ACT2FN["relu"], None),  # exact
    activation("silu"),
    activation("gelu"),
    unary(
        "exp",
        torch.exp,
        by_function("exp"),
        lambda x: x.clamp(-80, 80),
        high=6,
        errors=(of_integers("exp"),),
    ),
    unary("rsqrt", torch.rsqrt, by_function("rsqrt"), positive, errors=(of_integers("rsqrt"),)),
    unary("reciprocal", torch.reciprocal, by_function("reciprocal"), away_from_zero),
]

# --- two operands --------------------------------------------------------------------------------


def pair(shape, other=None, dtype=BF16, memory="dram", values=plain, note="", **kwargs):
    """A sample with two tensors, or a tensor and a scalar where `kwargs` has one."""

    def make():
        first = Operand(values(*shape), dtype, memory=memory)
        if "scalar" in kwargs:
            return (first,)
        second = values(*shape) if other is None else plain(*other)
        return first, Operand(second, dtype, memory=memory if other is None else "dram")

    note = "-".join(part for part in (note, PLAIN[values]) if part)
    return Sample(shape, make, dtype, memory, note, {"dtype": dtype, **kwargs})


SMALL_PAIRS = (
    *(pair(shape, None, dtype, memory) for shape, dtype, memory in SMALL_CALLS),
    pair((1, 2, 37, 80), (1, 1, 1, 80), note="row"),
    pair((1, 2, 37, 80), (1, 2, 37, 1), note="column"),
    pair((1, 2, 37, 80), (1, 1, 1, 1), note="one"),
    pair((1, 2, 37, 80), (1, 1, 37, 80), note="batch"),
    # the scalars are exact in bfloat16, to which the kernel rounds them
    pair(SMALL, scalar=0.375, note="scalar"),
    pair(SMALL, scalar=-7.0, dtype=FP32, note="scalar"),
)


def binary(name, torch_function):
    """An entry for `ttnn.<name>` of two tensors or a tensor and a scalar."""
    call = getattr(ttnn, name)
    return Op(
        name,
        call=lambda a, b=None, *, scalar=None, dtype: call(a, scalar if b is None else b),
        golden=lambda a, b=None, *, scalar=None, dtype: torch_function(
            a, scalar if b is None else b
        ),
        floor=rounded,
        samples=SMALL_PAIRS,
        references=(
            pair(HIDDEN),
            pair(HIDDEN, values=massive),
            pair((1, 1, 128, 96), values=extreme_pairs),
        ),
        errors=binary_errors(call),
    )


def extreme_pairs(*shape):
    """Both operands of a row of one magnitude, their product within bfloat16's range."""
    return extreme(*shape, low=-60, high=60)


PLAIN[extreme_pairs] = "extreme"


def binary_errors(call):
    return (
        Refused(
            "shapes",
            lambda device: call(on(device, plain(32, 64)), on(device, plain(32, 96))),
            "broadcast",
        ),
        Refused(
            "host",
            lambda device: call(on(device, plain(32, 32)), ttnn.from_torch(plain(32, 32))),
            "must be on device",
        ),
        Refused("text", lambda device: call(on(device, plain(32, 32)), "1"), "incompatible"),
    )


def gated(name, activation, golden, function):
    """`ttnn.multiply` with an activation fused to its first operand: the gate of an MLP."""

    def call(gate, up, dtype):
        return ttnn.multiply(gate, up, input_tensor_a_activations=[activation])

    def floor(expected, gate, up, dtype):
        return op_floors.chain(
            op_floors.vector(golden(gate), dtype.name.lower(), function),
            rounded(expected, dtype=dtype),
        )

    return Op(
        name,
        operation="multiply",
        call=call,
        golden=lambda gate, up, dtype: golden(gate) * up,
        floor=floor,
        samples=(*(pair(shape, None, dtype, memory) for shape, dtype, memory in SMALL_CALLS[:5]),),
        references=(pair(INTERMEDIATE), pair((1, 1, 32, 8192), values=massive)),
        errors=binary_errors(lambda a, b: call(a, b, BF16)),
    )


BINARY = [
    binary("add", torch.add),
    binary("subtract", torch.sub),
    binary("multiply", torch.mul),
    gated("multiply_silu", ttnn.UnaryOpType.SILU, ACT2FN["silu"], "silu"),
]

OPS = [*UNARY, *BINARY]
