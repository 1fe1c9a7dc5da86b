"""Elementwise ops of two and three operands: angles, lengths, interpolations, integers."""

from dataclasses import replace

import torch
import ttnn

from ttnn_verify.numerics import op_floors

from .eltwise import BF16, FP32, HIDDEN, SMALL, binary_errors, positive
from .operands import on
from .opinfo import Op, Operand, Refused, Sample, plain

# (shape, dtype, memory); a block format shares exponents with padding, so its widths are whole
CALLS = [
    ((32, 32), BF16, "dram"),
    (SMALL, BF16, "dram"),
    (SMALL, FP32, "dram"),
    ((2, 3, 1, 33), BF16, "l1"),
    ((2, 2, 64, 96), BF16, "height"),
]


def rounded(steps):
    """The rounding of the output after so many others of bfloat16, or of float32 for float32."""

    def floor(golden, *operands, dtype, **kwargs):
        part = op_floors.output(golden, "float32" if dtype == FP32 else "bfloat16")
        return op_floors.chain(op_floors.output(golden, dtype.name.lower()), *[part] * steps)

    return floor


def of_two(name, golden, steps, domain=lambda x: x):
    """An entry for `ttnn.<name>` of two tensors."""
    call = getattr(ttnn, name)

    def sample(shape, dtype=BF16, memory="dram"):
        def make():
            return tuple(Operand(domain(plain(*shape)), dtype, memory=memory) for _ in range(2))

        return Sample(shape, make, dtype, memory, kwargs={"dtype": dtype})

    return Op(
        name,
        call=lambda a, b, dtype: call(a, b),
        golden=lambda a, b, dtype: golden(a, b),
        floor=rounded(steps),
        samples=tuple(sample(*how) for how in CALLS),
        references=(sample(HIDDEN),),
        errors=binary_errors(call),
    )


def of_three(name, call, golden, steps, last=lambda x: x):
    """An entry for `ttnn.<name>` of three tensors, `last` maps the values of the third."""

    def sample(shape, dtype=BF16, memory="dram", other=None, note=""):
        def make():
            third = Operand(last(plain(*(other or shape))), dtype, memory=memory)
            return (*(Operand(plain(*shape), dtype, memory=memory) for _ in range(2)), third)

        return Sample(shape, make, dtype, memory, note, {"dtype": dtype})

    return Op(
        name,
        call=lambda a, b, c, dtype: call(a, b, c),
        golden=lambda a, b, c, dtype: golden(a, b, c),
        floor=rounded(steps),
        samples=(
            *(sample(*how) for how in CALLS),
            sample((1, 2, 37, 80), other=(1, 1, 1, 80), note="row"),
            sample((1, 2, 37, 80), other=(1, 2, 37, 1), note="column"),
        ),
        references=(sample(HIDDEN),),
        errors=(
            Refused(
                "shapes",
                lambda device: call(*(on(device, plain(32, w)) for w in (64, 64, 96))),
                "",
            ),
        ),
    )


def of_integers(name, golden, domain=lambda x: x):
    """An entry for `ttnn.<name>` of int32 tensors, which are exact."""
    call = getattr(ttnn, name)

    def sample(shape):
        def make():
            first = torch.randint(-9999, 9999, shape, dtype=torch.int32)
            second = domain(torch.randint(-9999, 9999, shape, dtype=torch.int32))
            return Operand(first, ttnn.int32), Operand(second, ttnn.int32)

        return Sample(shape, make, ttnn.int32)

    return Op(
        name,
        call=call,
        golden=golden,
        samples=(sample((32, 32)), sample(SMALL)),
        references=(sample((1, 1, 128, 512)),),
        errors=(
            Refused(
                "floats",
                lambda device: call(on(device, plain(32, 32)), on(device, plain(32, 32))),
                "not supported",
            ),
        ),
    )


def of_parts(name, golden, steps, domain=lambda x: x, complex_result=False):
    """An entry for `ttnn.<name>` of a complex tensor; both parts of a result that has two."""
    operation = getattr(ttnn, name)

    def call(a, b, dtype):
        z = operation(ttnn.complex_tensor(a, b), memory_config=ttnn.DRAM_MEMORY_CONFIG)
        return ttnn.concat([z.real, z.imag], -1) if complex_result else z

    def sample(shape, dtype=BF16, memory="dram"):
        def make():
            return tuple(Operand(domain(plain(*shape)), dtype, memory=memory) for _ in range(2))

        return Sample(shape, make, dtype, memory, kwargs={"dtype": dtype})

    return Op(
        name,
        call=call,
        golden=lambda a, b, dtype: golden(a, b),
        floor=rounded(steps),
        samples=tuple(sample(*how) for how in CALLS[:3]),
        references=(sample(HIDDEN),),
        errors=(
            Refused("real", lambda device: operation(on(device, plain(32, 32))), "incompatible"),
        ),
    )


def both(real, imag):
    return torch.cat([real, imag], -1)


OPS = [
    of_parts("angle", lambda a, b: torch.atan2(b, a), 4),
    of_parts("conj", lambda a, b: both(a, -b), 0, complex_result=True),
    of_parts("imag", lambda a, b: b, 0),
    of_parts("is_imag", lambda a, b: (a == 0).double(), 0, torch.relu),
    of_parts("is_real", lambda a, b: (b == 0).double(), 0, torch.relu),
    of_parts(
        "polar",
        lambda a, b: both(a * torch.cos(b), a * torch.sin(b)),
        3,
        complex_result=True,
    ),
    of_parts("real", lambda a, b: a, 0),
    replace(
        of_two("complex_tensor", lambda a, b: b, 0),
        call=lambda a, b, dtype: ttnn.complex_tensor(a, b).imag,
        errors=(Refused("number", lambda device: ttnn.complex_tensor(1.0, 2.0), "incompatible"),),
    ),
    of_two("atan2", torch.atan2, 4),
    of_two("hypot", torch.hypot, 3),
    of_two("logaddexp", torch.logaddexp, 2, positive),
    of_two("logaddexp2", torch.logaddexp2, 2, positive),
    of_two("maximum", torch.maximum, 0),
    of_two("minimum", torch.minimum, 0),
    of_three(
        "addcmul",
        lambda a, b, c: ttnn.addcmul(a, b, c, value=0.5),
        lambda a, b, c: torch.addcmul(a, b, c, value=0.5),
        1,
    ),
    of_three(
        "addcdiv",
        lambda a, b, c: ttnn.addcdiv(a, b, c, value=0.5),
        lambda a, b, c: torch.addcdiv(a, b, c, value=0.5),
        1,
        positive,
    ),
    of_three("lerp", ttnn.lerp, torch.lerp, 1, torch.sigmoid),
    of_three("mac", ttnn.mac, lambda a, b, c: a * b + c, 1),
    of_integers("bitwise_and", torch.bitwise_and),
    of_integers("bitwise_xor", torch.bitwise_xor),
    of_integers("gcd", torch.gcd),
    of_integers("bitwise_right_shift", torch.bitwise_right_shift, lambda x: x.abs() % 31),
]
