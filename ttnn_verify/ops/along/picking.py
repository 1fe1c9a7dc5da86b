"""Elements by index, in order or by where they stand: results are exact."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ttnn_verify.numerics import op_floors
from ttnn_verify.ops.expected import CallContext, Expected, NoGolden
from ttnn_verify.ops.spec import OpSpec, without_context


def gathered(input: torch.Tensor, dim: int, index: torch.Tensor) -> torch.Tensor:
    """input[.., index[.., i, ..], ..] along `dim`."""
    return torch.gather(input, dim, index.long())


def scattered(
    context: CallContext,
    input: torch.Tensor,
    dim: int,
    index: torch.Tensor,
    src: torch.Tensor,
    *,
    reduce: str | None = None,
) -> Expected:
    """`src` in a copy of `input` at `index`; "add" and "multiply" take what is there along.

    Raises:
        NoGolden: without a reduction, an index that occurs twice, whose last write stays.
    """
    places = index.long()
    values = src[tuple(slice(size) for size in index.shape)]
    if reduce is None:
        sorted_places = places.sort(dim).values
        if (sorted_places.diff(dim=dim) == 0).any():
            raise NoGolden("scatter has no golden for an index that occurs twice.")
        return Expected(input.scatter(dim, places, values))
    name = {"add": "sum", "multiply": "prod"}[reduce]
    total = input.double().scatter_reduce(dim, places, values.double(), name)
    return _in_float32(total, context.out)


def scatter_added(
    context: CallContext, input: torch.Tensor, dim: int, index: torch.Tensor, src: torch.Tensor
) -> Expected:
    return scattered(context, input, dim, index, src, reduce="add")


def _in_float32(value: torch.Tensor, out: str) -> Expected:
    """A few float32 steps, and the rounding of the result."""
    return Expected(value, lambda: op_floors.chain(*[op_floors.output(value, out)] * 2))


def in_order(
    input_tensor: torch.Tensor, dim: int = -1, descending: bool = False, stable: bool = False
) -> list[Expected]:
    """Values in order; positions where no other value is equal."""
    values, places = torch.sort(input_tensor, dim=dim, descending=descending, stable=True)
    return [Expected(values), _known(places, _alone(values, dim))]


def largest(
    input_tensor: torch.Tensor,
    k: int = 32,
    dim: int = -1,
    largest: bool = True,
    sorted: bool = True,
    *,
    stable: bool = False,
) -> list[Expected]:
    """The first of the order; positions where no other value is equal."""
    values, places = torch.sort(input_tensor, dim=dim, descending=largest, stable=True)
    values, places, alone = (x.narrow(dim, 0, k) for x in (values, places, _alone(values, dim)))
    return [Expected(values), _known(places, alone)]


def _known(places: torch.Tensor, alone: torch.Tensor) -> Expected:
    """Positions where they are known."""
    return Expected(places) if alone.all() else Expected(places[alone], region=alone)


def _alone(ordered: torch.Tensor, dim: int) -> torch.Tensor:
    """Bool of the same shape: values that differ from the ones beside them."""
    rows = ordered.movedim(dim, -1)
    other = rows[..., 1:] != rows[..., :-1]
    edge = torch.ones_like(rows[..., :1], dtype=torch.bool)
    return (torch.cat([edge, other], -1) & torch.cat([other, edge], -1)).movedim(-1, dim)


def position_of_largest(
    context: CallContext,
    input_tensor: torch.Tensor,
    dim: int | None = None,
    keepdim: bool = False,
) -> Expected:
    """The first position of the largest value; of all of them in their order without `dim`."""
    return Expected(torch.argmax(input_tensor, dim).reshape(context.shapes[0]))


def rolled(
    input_tensor: torch.Tensor,
    shifts: int | Sequence[int],
    dim: int | Sequence[int] | None = None,
) -> torch.Tensor:
    """Circularly shifted."""
    if dim is None:
        return torch.roll(input_tensor, shifts if isinstance(shifts, int) else list(shifts))
    pair = [[x] if isinstance(x, int) else list(x) for x in (shifts, dim)]
    return torch.roll(input_tensor, *pair)


def lower_triangle(input_tensor: torch.Tensor, *, diagonal: int = 0) -> torch.Tensor:
    """Zeros above a diagonal."""
    return torch.tril(input_tensor, diagonal)


def upper_triangle(input_tensor: torch.Tensor, *, diagonal: int = 0) -> torch.Tensor:
    """Zeros below a diagonal."""
    return torch.triu(input_tensor, diagonal)


def filled_at(input: torch.Tensor, dim: int, index: torch.Tensor, value: float) -> torch.Tensor:
    """A number at the indices of a dimension."""
    return input.index_fill(dim, index.long().flatten(), value)


def parts_replaced(
    batch_id: torch.Tensor,
    input_tensor_a: torch.Tensor,
    input_tensor_b: torch.Tensor,
    *,
    dim: int = 0,
) -> torch.Tensor:
    """Parts of the second tensor in the place of those of the first that are named."""
    return input_tensor_a.index_copy(dim, batch_id.long().flatten(), input_tensor_b)


PICKED: dict[str, Callable[..., Any]] = {
    "gather": gathered,
    "index_fill": filled_at,
    "indexed_fill": parts_replaced,
    "roll": rolled,
    "sort": in_order,
    "topk": largest,
    "tril": lower_triangle,
    "triu": upper_triangle,
}

SPECS = (
    *(
        OpSpec(
            (name,),
            without_context(golden),
            data="picks",
            ignored=frozenset({"out"}),
            neutral={"sparse_grad": (False,), "indices_tensor": ()},
        )
        for name, golden in PICKED.items()
    ),
    OpSpec(
        ("argmax",), position_of_largest, data="picks", ignored=frozenset({"enable_secondary_dm"})
    ),
    OpSpec(("scatter",), scattered),
    OpSpec(("scatter_add",), scatter_added),
    *(
        OpSpec((name,), judged=False)
        for name in ("bernoulli", "manual_seed", "rand", "randn", "sampling", "uniform")
    ),
)
