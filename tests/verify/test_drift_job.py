"""The work of a command of drift on an open device."""

import dataclasses

import pytest
import torch
import ttnn

from tests.support.checkpoint import CHECKPOINT, model_file
from ttnn_verify import drift, jobs
from ttnn_verify.drift import __main__ as command
from ttnn_verify.drift.running import job


class Building(jobs.Bringup):
    """A bring-up that notes the free DRAM in which each of its models is built."""

    free: list[int]

    def build(self, hf_model, device, *args):
        view = ttnn.get_memory_view(device, ttnn.BufferType.DRAM)
        self.free.append(view.largest_contiguous_bytes_free_per_bank)
        return super().build(hf_model, device, *args)


@pytest.fixture
def free(monkeypatch):
    found = []
    monkeypatch.setattr(Building, "free", found, raising=False)
    return found


def test_a_model_that_fits_alone_fits_again(free, device, backend_name):
    """TTNN keeps a tensor of a program at the end of the first model's weights."""
    if backend_name != "emulated":
        pytest.skip("it opens a device of its own")
    words = [model_file("optimized"), "--model", CHECKPOINT, "--prompt_tokens", "8"]
    args = command.parse([*map(str, words), "--max_seq_len", "64", "--decoded", "2", "--no_reuse"])
    args.own_process = False
    bringup, prompt = command.prepare(args)
    fields = {field.name: getattr(bringup, field.name) for field in dataclasses.fields(bringup)}
    hf_model = prompt.checkpoint.hf_model(torch.float32)
    hf_model.set_attn_implementation("eager")
    task = job.Task(args, Building(**fields), hf_model, prompt.ids)
    found, _ = job.Job(task, device, drift.Session()).whole()
    assert found.first is None
    assert found.left_out == {}
    assert len(free) == 2
    assert free[0] == free[1]
