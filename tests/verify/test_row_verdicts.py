"""The verifier's rows on the device: a right call is judged right, and other numbers wrong.

The op table's calls run on the device, observed as drift observes them, and every operation in them
is judged by its own row: golden, region and floor together. The goldens alone are compared without
a device in `test_op_specs`.
"""

import dataclasses

import pytest
import torch
import ttnn

from tests.ops import table as op_table
from tests.ops.operands import on, place
from tests.ops.opinfo import plain
from ttnn_verify.drift import finding
from ttnn_verify.drift.judgement import judging
from ttnn_verify.drift.observation import reading, taps
from ttnn_verify.drift.observation.walk import ModelCall
from ttnn_verify.drift.observed import Observed, operands_of, read, written_pairs
from ttnn_verify.ops import table

FP32, I32, U32, U16 = ttnn.float32, ttnn.int32, ttnn.uint32, ttnn.uint16
ROWS = ttnn.ROW_MAJOR_LAYOUT


def observed_calls(call):
    """The operations that `call()` makes and that have a row, as drift observes them."""
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
        found.append(Observed(call.name, call.operation, where, 0, operands, results))
        return returned

    with taps.intercept(observe):
        call()
    return found


def check(observed, known):
    """Fail unless the call is judged right, and is judged at all if it must be known."""
    own = judging.own_verdicts(observed, accurate=False)
    assert own.unknown != finding.TOOL_ERROR, f"{observed.name}: {own.reason}"
    if known:
        assert own.unknown is None, f"{observed.name}: {own.reason}"
    if own.wrong:
        pytest.fail(own.worst.message(observed.name), pytrace=False)


def spoilt(observed):
    """The same with other numbers in every result."""
    results = tuple(
        dataclasses.replace(result, values=result.values + 1 + result.values.abs() // 4)
        for result in observed.results
    )
    return dataclasses.replace(observed, results=results)


def first_of_each_format():
    """(op, sample) of the first call of each entry in each format."""
    first = {}
    for op, sample in op_table.calls("samples"):
        first.setdefault((op.name, sample.dtype, sample.result), (op, sample))
    return [pytest.param(*pair, id=f"{pair[0].name}-{pair[1].id}") for pair in first.values()]


@pytest.mark.parametrize(("op", "sample"), first_of_each_format())
def test_a_right_call_is_judged_right(op, sample, device):
    operands = [place(operand, device) for operand in sample.make()]
    for observed in observed_calls(lambda: op.call(*operands, **sample.kwargs)):
        check(observed, known=table.short_name(observed.name) == op.operation)


JUDGED = {op.operation: op for op in op_table.OPS.values() if table.spec_of(op.operation).judged}


@pytest.mark.parametrize("op", JUDGED.values(), ids=JUDGED.keys())
def test_other_numbers_are_judged_wrong(op, device):
    sample = op.samples[0]
    operands = [place(operand, device) for operand in sample.make()]
    calls = observed_calls(lambda: op.call(*operands, **sample.kwargs))
    own = [one for one in calls if table.short_name(one.name) == op.operation] or calls
    assert judging.own_verdicts(spoilt(own[-1]), accurate=False).wrong


def test_a_complex_tensor_is_observed_by_its_parts(device):
    z = ttnn.complex_tensor(on(device, plain(32, 32)), on(device, plain(32, 64)[:, 32:]))
    assert taps.paths([z]) == ["[0].real", "[0].imag"]
    parts = [ttnn.to_torch(part) for part in taps.device_tensors([z])]
    read_back = reading.Reader().in_torch(z)
    assert torch.equal(read_back, torch.complex(*[part.float() for part in parts]))


# --- arguments that the op table's calls do not have ----------------------------------------------


def scales(device, count):
    return on(device, 0.25 + torch.rand(count), FP32, ROWS), on(
        device, torch.randint(-9, 9, (count,)).int(), I32, ROWS
    )


def complex_of(device, *shape):
    return ttnn.complex_tensor(on(device, plain(*shape)), on(device, plain(*shape)))


def bcast(name, dim, shape):
    def call(device):
        a, b = on(device, plain(1, 2, 64, 96)), on(device, plain(1, 1, *shape))
        math, over = getattr(ttnn.BcastOpMath, name), getattr(ttnn.BcastOpDim, dim)
        return ttnn.bcast(a, b, math, over)

    return call


def whole(device, *shape, dtype=I32, layout=ttnn.TILE_LAYOUT):
    return on(device, torch.randint(0, 50, shape).int(), dtype, layout)


def chain(*names):
    return [ttnn.UnaryWithParam(getattr(ttnn.UnaryOpType, name)) for name in names]


def quantized_along(device):
    x = on(device, 9 * plain(1, 2, 32, 64), FP32)
    return ttnn.quantize(x, *scales(device, 64), axis=3)


def dequantized_along(device):
    return ttnn.dequantize(whole(device, 1, 2, 32, 64), *scales(device, 64), axis=-1)


def requantized_along(device):
    operands = (*scales(device, 64), *scales(device, 64))
    return ttnn.requantize(whole(device, 1, 2, 32, 64), *operands, axis=3)


CALLS = {
    "abs-complex": lambda d: ttnn.abs(complex_of(d, 37, 80), memory_config=ttnn.DRAM_MEMORY_CONFIG),
    "bcast-add-column": bcast("ADD", "W", (64, 1)),
    "bcast-mul-one": bcast("MUL", "HW", (1, 1)),
    "bcast-sub-row": bcast("SUB", "H", (1, 96)),
    "bitcast-u16-bf16": lambda d: ttnn.bitcast(whole(d, 32, 64, dtype=U16), ttnn.bfloat16),
    "bitcast-u32-fp32": lambda d: ttnn.bitcast(whole(d, 32, 64, dtype=U32), FP32),
    "bitcast-u32-i32": lambda d: ttnn.bitcast(whole(d, 32, 64, dtype=U32), I32),
    "dequantize-along": dequantized_along,
    "heaviside-zeros": lambda d: ttnn.heaviside(on(d, plain(37, 80).round()), 0.3),
    "isin-not": lambda d: ttnn.experimental.isin(
        whole(d, 100, layout=ROWS), whole(d, 9, layout=ROWS), invert=True
    ),
    "multigammaln-small": lambda d: ttnn.multigammaln(on(d, 1.6 + torch.rand(37, 80), FP32)),
    "outer-batch": lambda d: ttnn.outer(on(d, plain(3, 40)), on(d, plain(3, 64))),
    "polygamma-1": lambda d: ttnn.polygamma(on(d, 0.5 + 20 * torch.rand(37, 80)), 1),
    "polygamma-9": lambda d: ttnn.polygamma(on(d, 0.5 + 20 * torch.rand(37, 80)), 9),
    "pow-large": lambda d: ttnn.pow(on(d, 1 + torch.rand(37, 80)), on(d, 9 * plain(37, 80))),
    "prod-all": lambda d: ttnn.prod(on(d, 1 + plain(1, 2, 37, 80) / 64)),
    "prod-fp32": lambda d: ttnn.prod(on(d, 1 + plain(9, 2, 32, 64) / 8, FP32), 0, keepdim=True),
    "quantize-along": quantized_along,
    "quantize-bf16": lambda d: ttnn.quantize(on(d, 9 * plain(37, 80)), 0.3, -2),
    "reciprocal-complex": lambda d: ttnn.reciprocal(
        complex_of(d, 37, 80), memory_config=ttnn.DRAM_MEMORY_CONFIG
    ),
    "requantize-along": requantized_along,
    "requantize-numbers": lambda d: ttnn.requantize(whole(d, 37, 80), 0.3, 5, 0.7, -3),
    "rpow-base-3": lambda d: ttnn.rpow(on(d, 5 * plain(37, 80)), 3.3),
    "typecast-fractions": lambda d: ttnn.typecast(on(d, 99 * plain(37, 80), FP32), I32),
    "typecast-to-uint16": lambda d: ttnn.typecast(on(d, 99 * plain(37, 80), FP32), U16),
    "unary-chain": lambda d: ttnn.unary_chain(on(d, plain(37, 80)), chain("SIGMOID", "LOG")),
    "xlogy-fp32": lambda d: ttnn.xlogy(on(d, plain(37, 80), FP32), on(d, torch.rand(37, 80), FP32)),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_with_other_arguments_is_judged_right(name, device):
    calls = observed_calls(lambda: CALLS[name](device))
    assert calls
    for observed in calls:
        check(observed, known=True)
    assert judging.own_verdicts(spoilt(calls[-1]), accurate=False).wrong
