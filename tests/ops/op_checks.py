"""One sample of one op: called on the device, compared with its golden, judged; and twice alike."""

import operator
import warnings

import ttnn

from tests.support.checks import assert_same_bits
from ttnn_verify.numerics import floors, tolerance
from ttnn_verify.pytest_plugins import comparisons

from .operands import comparable, held, place

# A failed comparison is shown at the line of the test, an error of these helpers where it is.
__tracebackhide__ = operator.methodcaller("errisinstance", AssertionError)


def check(op, sample, device, record=None):
    """Fail, in one line, unless the op's result is its golden up to what its arithmetic explains.

    Args:
        record: pytest's record_property, by which the run's summary learns of the figures.
    """
    operands = sample.make()
    actual = outputs(op, sample, operands, device)
    exact = [held(operand) for operand in operands]
    if op.floor:
        exact = [x.double() if x.is_floating_point() else x for x in exact]
    goldens = as_list(op.golden(*exact, **sample.kwargs))
    assert len(actual) == len(goldens), f"{len(actual)} results, the golden has {len(goldens)}"
    for i, (expected, tensor) in enumerate(zip(goldens, actual, strict=True)):
        name = f"{op.name}-{sample.id}" + (f" output {i}" if len(goldens) > 1 else "")
        dtype = sample.result or sample.dtype
        assert tensor.dtype == dtype, f"{name}: dtype {tensor.dtype}, expected {dtype}"
        values = comparable(ttnn.to_torch(tensor))
        floor = floors.EXACT
        if op.floor:
            floor = op.floor(expected, *exact, **sample.kwargs)
        verdict = tolerance.judge_values(expected, values, floor, dtype.name.lower())
        comparison = verdict.comparison
        if verdict.errata:
            warnings.warn(f"{name}: the matrix unit's erratum at {verdict.errata}", stacklevel=2)
        if record:
            is_movement = floor == floors.EXACT
            record(*comparisons.entry(op.name, name, comparison, verdict, is_movement))
        if not verdict.passed:
            raise tolerance.ComparisonFailed(verdict.message(name))


def check_repeats(op, sample, device):
    """Fail unless the same call on the same operands gives the same bits."""
    operands = sample.make()
    first, second = (outputs(op, sample, operands, device) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert_same_bits(ttnn.to_torch(a), ttnn.to_torch(b))


def outputs(op, sample, operands, device):
    """The op's results for operands that are placed anew, as a list of ttnn tensors."""
    tensors = [place(operand, device) for operand in operands]
    return as_list(op.call(*tensors, **sample.kwargs))


def as_list(value):
    return list(value) if isinstance(value, (list, tuple)) else [value]
