"""Running sums and products, products and sums over dimensions, moving averages."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ttnn_verify.numerics import destination, op_floors
from ttnn_verify.numerics.destination import add_up
from ttnn_verify.numerics.formats import TILE
from ttnn_verify.numerics.rounding import BF16_BITS, TF32_BITS, cut, multiply
from ttnn_verify.ops.expected import CallContext, Expected
from ttnn_verify.ops.spec import Golden, OpSpec


def _expected(value: torch.Tensor, in_float32: torch.Tensor, out: str) -> Expected:
    """A value, and what float32 makes of it before the result is rounded."""
    if not value.is_floating_point():
        return Expected(value)
    return Expected(
        value,
        lambda: op_floors.chain(
            op_floors.between(value, in_float32.double()),
            *[op_floors.output(value, out)] * 2,
        ),
    )


def running(function: Callable[..., torch.Tensor]) -> Golden:
    """The golden of `torch.cumsum` or `torch.cumprod`; integers wrap around at 32 bits."""

    def golden(
        context: CallContext, input: torch.Tensor, dim: int, *, reverse_order: bool = False
    ) -> Expected:
        def scanned(x: torch.Tensor) -> torch.Tensor:
            return function(x.flip(dim), dim).flip(dim) if reverse_order else function(x, dim)

        if not input.is_floating_point():
            whole = scanned(input.long())
            return Expected(((whole + 2**31) & 0xFFFFFFFF) - 2**31)
        return _expected(scanned(input.double()), scanned(input.float()), context.out)

    return golden


def product(
    context: CallContext, input_tensor: torch.Tensor, dim: int | None = None, keepdim: bool = False
) -> Expected:
    """The product over a dimension, or over all elements.

    The matrix unit multiplies tile by tile (prod_nc.cpp, prod_all.cpp): in four phases into a
    16-bit destination, or in three into one of 32 bits, which is read back with a TF32's bits. Over
    all elements the destination has 32 bits, the operand's are read back, and the host multiplies
    the elements of the tile that is left, each product rounded to the result's format.
    """
    wide = input_tensor.double()
    value = (wide.prod() if dim is None else wide.prod(dim)).reshape(context.shapes[0])
    short = context.out != "float32"

    def floor() -> op_floors.Floor:
        if dim is None:
            missing = -input_tensor.numel() % TILE**2
            ones = torch.nn.functional.pad(input_tensor.flatten(), (0, missing), value=1.0)
            left = _multiplied(ones.reshape(-1, TILE**2), BF16_BITS if short else TF32_BITS)
            kept = torch.bfloat16 if short else torch.float32
            result = functools.reduce(lambda a, b: (a * b).to(kept).float(), left)
            return destination.packed(value, result.double().reshape(value.shape), context.out)
        bits = None if short else TF32_BITS
        result = _multiplied(input_tensor.movedim(dim, 0), bits).reshape(value.shape)
        return destination.packed(value, result.double(), context.out, not short)

    return Expected(value, floor)


def _multiplied(terms: torch.Tensor, read_back: int | None) -> torch.Tensor:
    """The product over the first dimension, by the matrix unit.

    Args:
        read_back: bits of a 32-bit destination that the next product reads; None for one of 16.
    """
    total, *others = terms.float()
    for term in others:
        if read_back is None:
            total = multiply(total, term, "HiFi4", fp32_dest_acc=False)
        else:
            total = multiply(cut(total, read_back), cut(term, TF32_BITS), "HiFi3", True)
    return total


def summed_tiles(context: CallContext, input: torch.Tensor, *, dims: Sequence[int]) -> Expected:
    """Sums over leading dimensions, each rounded to bfloat16 by a 16-bit destination."""
    value, rounded = input.double(), input.float()
    for dim in sorted(d % input.dim() for d in dims)[::-1]:
        value = value.sum(dim, keepdim=True)
        total = torch.zeros_like(rounded.narrow(dim, 0, 1))
        for term in rounded.split(1, dim):
            total = (total + term).bfloat16().float()
        rounded = total
    return _expected(value, rounded, context.out)


def summed_and_split(
    context: CallContext, input_tensor: torch.Tensor, dim: int, *, split_size: int
) -> list[Expected]:
    """The sum over a leading dimension, cut along the last one.

    Term by term in a 32-bit destination, which reads a TF32's bits of each, unless a config says
    otherwise (deepseek_moe_fast_reduce_nc_reduce.cpp): then each sum is rounded to bfloat16.
    """
    parts = input_tensor.split(split_size, -1)
    if context.compute is not None and not context.compute.fp32_dest_acc:
        return [summed_tiles(context, part, dims=[dim]) for part in parts]

    def of_part(part: torch.Tensor) -> Expected:
        value = part.double().sum(dim, keepdim=True)

        def floor() -> op_floors.Floor:
            total = add_up(cut(part.float(), TF32_BITS).split(1, dim))
            return op_floors.chain(
                op_floors.between(value, total.double()), op_floors.output(value, context.out)
            )

        return Expected(value, floor)

    return [of_part(part) for part in parts]


def averaged(context: CallContext, input_tensor: torch.Tensor, alpha: float) -> Expected:
    """alpha * (what was) + (1 - alpha) * (what comes) along the last dimension, from 0."""

    def run(x: torch.Tensor) -> torch.Tensor:
        average, results = torch.zeros_like(x[..., 0]), []
        for value in x.unbind(-1):
            average = alpha * average + (1 - alpha) * value
            results.append(average)
        return torch.stack(results, -1)

    return _expected(run(input_tensor.double()), run(input_tensor.float()), context.out)


NEUTRAL: dict[str, tuple[Any, ...]] = {"disable_compensated_sum": (False, True)}
IGNORED = frozenset({"out", "output"})

SPECS = (
    OpSpec(("cumsum",), running(torch.cumsum), ignored=IGNORED, neutral=NEUTRAL),
    OpSpec(("cumprod",), running(torch.cumprod), ignored=IGNORED),
    OpSpec(("prod",), product, ignored=IGNORED),
    OpSpec(("fast_reduce_nc",), summed_tiles, ignored=IGNORED),
    OpSpec(
        ("deepseek_moe_fast_reduce_nc",),
        summed_and_split,
        ignored=frozenset({"output_memory_config"}),
    ),
    OpSpec(("ema",), averaged, ignored=IGNORED),
)
