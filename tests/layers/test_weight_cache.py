"""What remains of weights on disk and in memory after they are sent to the device."""

import multiprocessing
import os
import pathlib
import re

import pytest
import torch
import ttnn

from model.weights import DeviceWeights
from ttnn_emulator import toolchain

SHAPE = (96, 64)


@pytest.fixture
def weight():
    return torch.randn(SHAPE).bfloat16()


def conversions(monkeypatch):
    """A list that grows with the shape of each host tensor that is converted."""
    shapes, from_torch = [], ttnn.from_torch

    def recording_from_torch(tensor, *args, **kwargs):
        shapes.append(tuple(tensor.shape))
        return from_torch(tensor, *args, **kwargs)

    monkeypatch.setattr(ttnn, "from_torch", recording_from_torch)
    return shapes


@pytest.mark.parametrize("dtype", [ttnn.bfloat16, ttnn.bfloat8_b])
def test_a_second_start_converts_nothing(dtype, weight, device, tmp_path, monkeypatch):
    first = DeviceWeights({}, device, tmp_path).linear(weight, dtype)
    converted = conversions(monkeypatch)
    second = DeviceWeights({}, device, tmp_path).linear(weight.clone(), dtype)
    assert converted == []
    assert torch.equal(ttnn.to_torch(second), ttnn.to_torch(first))


def test_other_contents_and_formats_have_files_of_their_own(weight, device, tmp_path):
    other = weight.clone()
    other[0, 0] += 1
    weights = DeviceWeights({}, device, tmp_path)
    for tensor in (weight, other):
        assert torch.equal(ttnn.to_torch(weights.linear(tensor, ttnn.bfloat16)), tensor.T)
    weights.linear(weight, ttnn.bfloat8_b)
    assert len(list(tmp_path.iterdir())) == 3


def test_without_a_folder_nothing_is_kept(weight, device, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    DeviceWeights({}, device).linear(weight, ttnn.bfloat16)
    assert list(tmp_path.iterdir()) == []


def own_memory():
    """MB of this process's own pages."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"^RssAnon:\s*(\d+) kB", status, re.MULTILINE)[1]) * 1024 / 1e6


def _own_memory_after_each_layer(results):
    """Sends `own_memory()` after the two projections of each of three of Phi-3-mini's layers."""
    os.environ.update(toolchain.runtime_root())
    device = ttnn.open_device(device_id=0)
    weights, memory = DeviceWeights({}, device), []
    for _ in range(3):
        for rows in (9216, 3072):
            weights.linear(
                torch.zeros(1, 1, dtype=torch.bfloat16).expand(rows, 3072), ttnn.bfloat16
            )
        memory.append(own_memory())
    results.send(memory)


def test_the_host_keeps_nothing_of_a_weight(backend_name):
    """On TTNN's mock device without the emulation, which holds on the host what buffers hold."""
    if backend_name != "emulated":
        pytest.skip("this process's device is a real one")
    context = multiprocessing.get_context("spawn")
    results, sent = context.Pipe(duplex=False)
    process = context.Process(target=_own_memory_after_each_layer, args=(sent,))
    process.start()
    sent.close()  # so that the end of the process is the end of its results
    first, *_, last = results.recv()
    process.join()
    assert last - first < 10
