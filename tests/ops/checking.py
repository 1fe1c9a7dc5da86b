"""One sample of one op: called on the device, compared with its golden, judged."""

import warnings

import ttnn

from ttnn_verify.numerics import erratum, floors, metrics, tolerance
from ttnn_verify.pytest_plugins import comparisons

from .placing import comparable, held, place


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
    due = listed(op.golden(*exact, **sample.kwargs))
    assert len(actual) == len(due), f"{len(actual)} results, the golden has {len(due)}"
    for i, (expected, tensor) in enumerate(zip(due, actual, strict=True)):
        name = f"{op.name}-{sample.id}" + (f" output {i}" if len(due) > 1 else "")
        dtype = sample.result or sample.dtype
        assert tensor.dtype == dtype, f"{name}: dtype {tensor.dtype}, due is {dtype}"
        got = comparable(ttnn.to_torch(tensor))
        floor = floors.EXACT
        if op.floor:
            floor = op.floor(expected, *exact, **sample.kwargs)
        got, struck = erratum.mask_erratum(expected, got, floor)
        if struck:
            warnings.warn(f"{name}: the matrix unit's erratum at {struck}", stacklevel=2)
        comparison = metrics.compare(expected, got, dtype=dtype.name.lower())
        verdict = tolerance.judge(comparison, floor)
        if record:
            movement = floor == floors.EXACT
            record(*comparisons.entry(op.name, name, comparison, verdict, movement))
        assert verdict.passed, f"{name}: {verdict.line}; {comparison}"


def outputs(op, sample, operands, device):
    """The op's results for operands that are placed anew, as a list of ttnn tensors."""
    tensors = [place(operand, device) for operand in operands]
    return listed(op.call(*tensors, **sample.kwargs))


def listed(value):
    return list(value) if isinstance(value, (list, tuple)) else [value]
