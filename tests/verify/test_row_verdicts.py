"""The verifier's rows on the device: of a right call they say that it is right.

The op table's calls run on the device, observed as drift observes them, and every operation in them
is judged by its own row: golden, region and floor together. The goldens alone are compared without
a device in `test_op_specs`.
"""

import pytest

from tests.ops import table as op_table
from tests.ops.operands import place
from ttnn_verify.drift import finding
from ttnn_verify.drift.judgement import judging
from ttnn_verify.drift.observation import reading, taps
from ttnn_verify.drift.observation.walk import ModelCall
from ttnn_verify.drift.observed import Observed, operands_of, read, written_pairs
from ttnn_verify.ops import table


def first_of_each_format():
    """(op, sample) of the first call of each entry in each format."""
    seen, first = set(), []
    for op, sample in op_table.calls("samples"):
        if (op.name, sample.dtype, sample.result) not in seen:
            seen.add((op.name, sample.dtype, sample.result))
            first.append((op, sample))
    return first


def verdicts(op, sample, device):
    """(operation, verdicts) of the operations in a call that have a row."""
    reader, found = reading.Reader(), []

    def observe(call, run):
        if not table.spec_of(call.name).judged:
            return run()
        operands = operands_of(call, reader, {})
        caches = [cache for cache, _ in written_pairs(call)]
        returned = run()
        tensors = caches or taps.device_tensors([returned])
        for tensor in tensors:
            reader.note_write(tensor)
        results = tuple(read(tensor, reader, {}) for tensor in tensors)
        where = ModelCall(0, 0, (0,), (1,))
        observed = Observed(call.name, call.operation, where, 0, operands, results)
        found.append((call.name, judging.own_verdicts(observed, accurate=False)))
        return returned

    operands = [place(operand, device) for operand in sample.make()]
    with taps.intercept(observe):
        op.call(*operands, **sample.kwargs)
    return found


@pytest.mark.parametrize(
    ("op", "sample"),
    [pytest.param(*pair, id=f"{pair[0].name}-{pair[1].id}") for pair in first_of_each_format()],
)
def test_a_right_call_is_judged_right(op, sample, device):
    for name, own in verdicts(op, sample, device):
        assert own.unknown != finding.TOOL_ERROR, f"{name}: {own.reason}"
        if own.wrong:
            pytest.fail(f"{name}: {own.worst.message(name)}", pytrace=False)
        if table.short_name(name) == op.operation:
            assert own.unknown is None, f"{name}: {own.reason}"
