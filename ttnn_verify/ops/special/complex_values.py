"""Complex tensors: their parts, and functions of them. A golden gets torch's complex numbers.

A complex result has two expected values, of its real and of its imaginary part.
"""

import torch

from ttnn_verify.numerics import op_floors
from ttnn_verify.ops.eltwise import APPROXIMATE, unary
from ttnn_verify.ops.expected import CallContext, Expected
from ttnn_verify.ops.spec import OpSpec
from ttnn_verify.ops.special.eltwise_pairs import expected


def complex_tensor(
    context: CallContext, real: torch.Tensor, imag: torch.Tensor
) -> tuple[Expected, Expected]:
    """The two tensors as they are."""
    return Expected(real), Expected(imag)


def real(context: CallContext, input_tensor: torch.Tensor) -> Expected:
    """The real part as it is."""
    return Expected(input_tensor.real)


def imag(context: CallContext, input_tensor: torch.Tensor) -> Expected:
    """The imaginary part as it is."""
    return Expected(input_tensor.imag)


def conj(context: CallContext, input_tensor: torch.Tensor) -> tuple[Expected, Expected]:
    """The imaginary part's sign changes, nothing is rounded."""
    return Expected(input_tensor.real), Expected(-input_tensor.imag)


def is_real(context: CallContext, input_tensor: torch.Tensor) -> Expected:
    """1 where the imaginary part is zero, else 0."""
    return Expected((input_tensor.imag == 0).float())


def is_imag(context: CallContext, input_tensor: torch.Tensor) -> Expected:
    """1 where the real part is zero, else 0."""
    return Expected((input_tensor.real == 0).float())


def angle(context: CallContext, input_tensor: torch.Tensor) -> Expected:
    """atan2 of the parts, which is one kernel, with the steps of `ttnn.atan2`."""
    return expected(context, torch.angle(input_tensor.to(torch.complex128)), steps=4)


def polar(context: CallContext, input_tensor: torch.Tensor) -> tuple[Expected, Expected]:
    """r*cos(t) and r*sin(t) of a real part r and an imaginary part t.

    The cosine and the sine are stored, and so rounded, before they are multiplied.
    """
    turned = torch.polar(input_tensor.real.double(), input_tensor.imag.double())

    def of_part(value: torch.Tensor, function: str) -> Expected:
        def floor() -> op_floors.Floor:
            stored = op_floors.vector(value, context.out, function)
            return op_floors.chain(stored, op_floors.output(value, context.out))

        return Expected(value, floor)

    return of_part(turned.real, "cos"), of_part(turned.imag, "sin")


def modulus(context: CallContext, input_tensor: torch.Tensor) -> Expected:
    """|z|, one kernel with the steps of `ttnn.hypot`; of a real tensor without its sign."""
    if not input_tensor.is_complex():
        return unary("abs")(context, input_tensor)
    return expected(context, input_tensor.to(torch.complex128).abs(), steps=3)


def reciprocal(
    context: CallContext, input_tensor: torch.Tensor
) -> Expected | tuple[Expected, Expected]:
    """1/z as the conjugate over the sum of squares.

    Kernels of their own store the squares, their sum, its inverse and the product. The sum's terms
    have one sign, so that it inherits the squares' error once at most.
    """
    if not input_tensor.is_complex():
        return unary("reciprocal")(context, input_tensor)
    inverse = input_tensor.to(torch.complex128).reciprocal()

    def of_part(value: torch.Tensor) -> Expected:
        def floor() -> op_floors.Floor:
            stored = [op_floors.output(value, context.out)] * 3  # squares, sum, product
            return op_floors.chain(op_floors.vector(value, context.out, "reciprocal"), *stored)

        return Expected(value, floor)

    return of_part(inverse.real), of_part(inverse.imag)


SPECS = (
    *(OpSpec((golden.__name__,), golden, data="keeps") for golden in (complex_tensor, real, imag)),
    *(OpSpec((golden.__name__,), golden) for golden in (angle, conj, is_imag, is_real, polar)),
    OpSpec(("abs",), modulus, family="elementwise", neutral=APPROXIMATE),
    OpSpec(("reciprocal",), reciprocal, family="elementwise", neutral=APPROXIMATE),
)
