"""What remains of weights on disk and in memory after they are sent to the device."""

import multiprocessing
import os
import pathlib
import re

import pytest
import torch
import ttnn

from model import weight_cache
from model.weights import DeviceWeights
from ttnn_emulator.machine import toolchain

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
    first = DeviceWeights({}, device, tmp_path).place(weight, dtype, transposed=True)
    converted = conversions(monkeypatch)
    second = DeviceWeights({}, device, tmp_path).place(weight.clone(), dtype, transposed=True)
    assert converted == []
    assert torch.equal(ttnn.to_torch(second), ttnn.to_torch(first))


def test_other_contents_and_formats_have_files_of_their_own(weight, device, tmp_path):
    other = weight.clone()
    other[0, 0] += 1
    weights = DeviceWeights({}, device, tmp_path)
    for tensor in (weight, other):
        assert torch.equal(
            ttnn.to_torch(weights.place(tensor, ttnn.bfloat16, transposed=True)), tensor.T
        )
    weights.place(weight, ttnn.bfloat8_b, transposed=True)
    assert len(list(tmp_path.glob("*.tensorbin"))) == 3


def test_what_is_made_of_a_tensor_has_a_file_of_its_own(device, tmp_path):
    square = torch.randn(64, 64).bfloat16()
    weights = DeviceWeights({}, device, tmp_path)
    for _ in range(2):
        assert torch.equal(
            ttnn.to_torch(weights.place(square, ttnn.bfloat16, transposed=True)), square.T
        )
        assert torch.equal(ttnn.to_torch(weights.place(square)), square)
        rows = weights.place(square, layout=ttnn.ROW_MAJOR_LAYOUT)
        assert rows.layout == ttnn.ROW_MAJOR_LAYOUT
        assert torch.equal(ttnn.to_torch(rows), square)
    assert len(list(tmp_path.glob("*.tensorbin"))) == 3


def test_another_version_of_ttnn_converts_anew(weight, device, tmp_path, monkeypatch):
    DeviceWeights({}, device, tmp_path).place(weight)
    monkeypatch.setattr(weight_cache, "_version", lambda: "ttnn 99")
    converted = conversions(monkeypatch)
    DeviceWeights({}, device, tmp_path).place(weight)
    assert converted == [SHAPE]


# What may happen to the files of two weights of one shape. (of both, their checksums)
def swapped(files, sums):
    first = files[0].read_bytes()
    files[0].write_bytes(files[1].read_bytes())
    files[1].write_bytes(first)


def swapped_with_their_checksums(files, sums):
    swapped(files, sums)
    swapped(sums, files)


def with_a_bit_changed(files, sums):
    for file in files:
        content = bytearray(file.read_bytes())
        content[-100] ^= 4
        file.write_bytes(content)


def cut_short(files, sums):
    for file in files:
        file.write_bytes(file.read_bytes()[:-64])


def emptied(files, sums):
    for file in files:
        file.write_bytes(b"")


def without_checksums(files, sums):
    for file in sums:
        file.unlink()


def with_garbage_for_checksums(files, sums):
    for file in sums:
        file.write_bytes(b"\xff\xfe")


DAMAGES = [
    swapped,
    swapped_with_their_checksums,
    with_a_bit_changed,
    cut_short,
    emptied,
    without_checksums,
    with_garbage_for_checksums,
]


@pytest.mark.parametrize("damaged", DAMAGES, ids=lambda damage: damage.__name__)
def test_damaged_files_are_made_again_and_said_to_be(
    damaged, weight, device, tmp_path, monkeypatch, caplog
):
    both = weight, torch.randn(SHAPE).bfloat16()

    def placed():
        weights = DeviceWeights({}, device, tmp_path)
        return [
            ttnn.to_torch(weights.place(tensor, ttnn.bfloat16, transposed=True)).T
            for tensor in both
        ]

    placed()
    files, sums = (sorted(tmp_path.glob(f"*{end}")) for end in (".tensorbin", ".sha256"))
    assert (len(files), len(sums)) == (2, 2)
    damaged(files, sums)
    assert all(torch.equal(*pair) for pair in zip(placed(), both, strict=True))
    assert caplog.text.count("it is made again") == 2
    assert all(file.name in caplog.text for file in files)
    converted = conversions(monkeypatch)
    placed()
    assert converted == []


def test_what_a_killed_process_left_half_written_goes_and_a_living_ones_stays(
    weight, device, tmp_path
):
    left = tmp_path / "96x64-0.tensorbin.1.2.tmp"
    living = DeviceWeights({}, device, tmp_path)
    left.touch()
    DeviceWeights({}, device, tmp_path).place(weight)
    assert left.exists()
    del living
    DeviceWeights({}, device, tmp_path).place(weight)
    assert not left.exists()


def test_without_a_folder_nothing_is_kept(weight, device, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    DeviceWeights({}, device).place(weight, ttnn.bfloat16, transposed=True)
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
            weight = torch.zeros(1, 1, dtype=torch.bfloat16).expand(rows, 3072)
            weights.place(weight, ttnn.bfloat16, transposed=True)
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
