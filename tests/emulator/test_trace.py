"""Traces: what is captured is computed when it is executed, with what its operands hold then."""

import pytest
import torch
import ttnn

import ttnn_emulator
from ttnn_emulator.ops.common.padding import UNDEFINED_BFLOAT16

ONES = torch.ones(32, 32)


def tensor(values, device, **kwargs):
    return ttnn.from_torch(
        values, dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=device, **kwargs
    )


def double_and_one_more(x):
    return ttnn.add(ttnn.add(x, x), 1.0)  # the inner sum is freed on the way


@pytest.fixture
def capture(device):
    """A function that captures a call, which it makes once before; traces are released."""
    captured = []

    def capture(call):
        call()
        trace = ttnn.begin_trace_capture(device, cq_id=0)
        result = call()
        ttnn.end_trace_capture(device, trace, cq_id=0)
        captured.append(trace)
        return trace, result

    yield capture
    for trace in captured:
        ttnn.release_trace(device, trace)


def send(values, to):
    host = ttnn.from_torch(values, dtype=to.dtype, layout=to.layout)
    ttnn.copy_host_to_device_tensor(host, to)


def test_each_execution_reads_what_is_there_then(device, capture):
    x = tensor(ONES, device)
    trace, y = capture(lambda: double_and_one_more(x))
    for value in (1.0, 5.0, -2.0):
        send(ONES * value, x)
        ttnn.execute_trace(device, trace, cq_id=0, blocking=True)
        assert torch.equal(ttnn.to_torch(y).float(), ONES * (2 * value + 1))


def test_a_capture_computes_nothing(device, capture):
    x, count = tensor(ONES, device), ttnn.to_device(ttnn.from_torch(torch.zeros(8).int()), device)
    _, y = capture(lambda: (ttnn.plus_one(count), ttnn.add(x, x))[1])
    assert ttnn.to_torch(count).tolist() == [1] * 8  # from the call before
    assert (ttnn.to_torch(y).view(torch.int16) == UNDEFINED_BFLOAT16).all()


def test_what_is_written_in_place_goes_on(device, capture):
    count = ttnn.to_device(ttnn.from_torch(torch.zeros(8).int()), device)
    trace, _ = capture(lambda: ttnn.plus_one(count))
    for _ in range(3):
        ttnn.execute_trace(device, trace, cq_id=0, blocking=False)
    assert ttnn.to_torch(count).tolist() == [4] * 8


def test_what_lies_where_a_trace_writes_is_overwritten(device, capture):
    """A buffer from after the capture takes the room of the sum that was freed in it."""
    x = tensor(ONES, device)
    trace, y = capture(lambda: double_and_one_more(x))
    later, safe = tensor(ONES * 3, device), tensor(ONES * 3, device)
    ttnn.execute_trace(device, trace, cq_id=0, blocking=True)
    assert torch.equal(ttnn.to_torch(y).float(), ONES * 3)
    assert (ttnn.to_torch(later).view(torch.int16) == UNDEFINED_BFLOAT16).all()
    assert torch.equal(ttnn.to_torch(safe).float(), ONES * 3)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda x: ttnn.to_torch(x), "Reads are not supported"),
        (lambda x: x.to_torch_with_padded_shape(), "Reads are not supported"),
        (lambda x: send(ONES, x), "Writes are not supported"),
        (lambda x: ttnn.zeros((32, 32), device=x.device()), "ttnn.zeros: writes are not supported"),
        (lambda x: ttnn.multiply(x, x, dtype=ttnn.float32), "cannot load new binaries"),
    ],
)
def test_a_capture_refuses_what_ttnn_refuses(call, sentence, device):
    x = tensor(ONES, device)
    device.clear_program_cache()
    ttnn.begin_trace_capture(device, cq_id=0)
    assert ttnn.is_trace_capture_active(device)
    with pytest.raises(RuntimeError, match=sentence):
        call(x)
    assert not ttnn.is_trace_capture_active(device)
    ttnn.to_torch(x)


def test_an_operand_that_was_freed_is_missed(device, capture):
    x = tensor(ONES, device)
    trace, _ = capture(lambda: ttnn.add(x, x))
    ttnn.deallocate(x)
    y = tensor(ONES, device)  # most likely where x was
    with pytest.raises(RuntimeError, match="freed after the capture"):
        ttnn.execute_trace(device, trace, cq_id=0, blocking=True)
    assert torch.equal(ttnn.to_torch(y).float(), ONES)


def test_captures_do_not_nest(device):
    trace = ttnn.begin_trace_capture(device, cq_id=0)
    with pytest.raises(RuntimeError, match="captured already"):
        ttnn.begin_trace_capture(device, cq_id=0)
    with pytest.raises(RuntimeError, match="while one is being captured"):
        ttnn.execute_trace(device, trace, cq_id=0)
    ttnn.end_trace_capture(device, trace, cq_id=0)
    with pytest.raises(RuntimeError, match="is not being captured"):
        ttnn.end_trace_capture(device, trace, cq_id=0)
    ttnn.release_trace(device, trace)
    with pytest.raises(RuntimeError, match="released"):
        ttnn.execute_trace(device, trace, cq_id=0)


def test_a_trace_that_leaves_its_operand_is_refused_when_it_is_executed(device, capture):
    ids, rows = (
        ttnn.from_torch(values, dtype=dtype, device=device)
        for values, dtype in (
            (torch.tensor([[6]]), ttnn.uint32),
            (torch.ones(8, 64), ttnn.bfloat16),
        )
    )
    # the call before the capture leaves the last row
    trace, _ = capture(lambda: (ttnn.plus_one(ids), ttnn.embedding(ids, rows)))
    with pytest.raises(ttnn_emulator.OutOfBounds, match="row 8 of weight"):
        ttnn.execute_trace(device, trace, cq_id=0)
