"""What is expected of a call's results, from its own operands."""

import dataclasses
import functools

from ttnn_verify.drift.observed import Observed
from ttnn_verify.numerics import metrics, op_floors
from ttnn_verify.ops import table
from ttnn_verify.ops.expected import CallContext, Expected


def expected_results(observed: Observed, accurate: bool) -> list[Expected]:
    """What is expected of each of a call's results, from its own operands.

    Raises:
        NoGolden: nothing is known of the operation or of an argument.
        Exception: whatever a golden function raises.
    """
    dtypes = tuple(result.dtype for result in observed.results)
    shapes = tuple(result.shape for result in observed.results)
    context = CallContext(dtypes, shapes, accurate, mesh=observed.mesh, chip=observed.chip or 0)
    operands = observed.operands
    expected = table.expected_results(
        observed.name, observed.operation, context, operands.args, operands.kwargs
    )
    if len(expected) != len(dtypes):
        raise ValueError(f"{len(dtypes)} results, the golden function has {len(expected)}.")
    if operands.sources:  # blocks of a cache are rounded again when a part of them is written
        expected = [in_blocks(*pair) for pair in zip(expected, dtypes, strict=True)]
    return [_with_one_floor(golden) for golden in expected]


def _with_one_floor(expected: Expected) -> Expected:
    """The same with a floor that is made once, however many verdicts want it."""
    if expected.floor is None:
        return expected
    return dataclasses.replace(expected, floor=functools.cache(expected.floor))


def in_blocks(expected: Expected, dtype: str) -> Expected:
    """What is expected of data that moves into a tensor of this dtype: a block format rounds it."""
    if expected.floor is not None or dtype not in metrics.BLOCK_BITS:
        return expected
    value = expected.value
    return dataclasses.replace(expected, floor=lambda: op_floors.typecast(value.double(), dtype))
