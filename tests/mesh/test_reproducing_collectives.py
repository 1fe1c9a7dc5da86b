"""A bad collective as a program of its own: it differs with the fault and agrees without."""

import functools
import inspect
import os
import re
import runpy
import subprocess
import sys
import types

import pytest
import torch
import ttnn

import ttnn_emulator
from tests.bringups import parallel_llama
from tests.bringups.parallel_llama import ParallelLlama
from tests.support.checkpoint import ROOT
from tests.support.meshes import on_each
from ttnn_verify import drift
from ttnn_verify.drift import finding, reproducer
from ttnn_verify.drift.observation import given, reading, taps
from ttnn_verify.drift.reproducer import chips_compared, operands, program
from ttnn_verify.drift.reproducer.wanted import WantedOfChips
from ttnn_verify.numerics import metrics

PROMPT, DECODED = 17, 1
EMULATED = "python -m ttnn_emulator --arithmetic rounded"
SETTING = reproducer.Setting("a command", "ttnn 1", "eight chips", EMULATED, "t3000")

# Another process, in which a collective is wrong.
RUN = """
import runpy
import ttnn_emulator

{fault}
ttnn_emulator.install("rounded", system="t3000")
with ttnn_emulator.binding_replaced({name!r}, doubled_on_the_last_chip):
    runpy.run_path({path!r}, run_name="__main__")
"""


def doubled_on_the_last_chip(kernel):
    """A collective that gives the last chip twice of what it should have."""

    def faulty(launch, *args, **kwargs):
        (parts,) = kernel(launch, *args, **kwargs)
        return [[*parts[:-1], parts[-1] * 2]]

    return faulty


@functools.cache
def reference():
    return parallel_llama.hf_llama(0)


def captured_in(model_class, mesh, folder):
    """What drift finds first in a model of that class, and the program of its call."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(
        3, parallel_llama.CONFIG.vocab_size, (1, PROMPT + DECODED), generator=generator
    )
    captured = reproducer.Capture()
    model = model_class(reference(), mesh)
    found = drift.locate(model, reference(), ids, DECODED, drift.Session(on_bad=captured))
    return found, reproducer.write(captured, folder / "case", SETTING)


def ran(*command):
    """(exit status, lines printed) of Python with that command, in a process of its own."""
    done = subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, done.stdout.splitlines()


def run_healthy(path):
    return ran("-m", "ttnn_emulator", "--system", "t3000", "--arithmetic", "rounded", str(path))


def run_faulty(path, name):
    fault = inspect.getsource(doubled_on_the_last_chip)
    return ran("-c", RUN.format(fault=fault, name=name, path=str(path)))


class Scattered(ParallelLlama):
    """With sums that are scattered and gathered."""

    def sum(self, x):
        axis = None if self.flat else 1
        part = ttnn.reduce_scatter(x, 3, cluster_axis=axis)
        return ttnn.all_gather(part, 3, cluster_axis=axis)


def check_text(text, found, mesh):
    lines = text.splitlines()
    assert len(lines) <= program.MOST_LINES
    assert found.line in text
    assert f"{EMULATED} --system t3000 reproduce.py" in text
    assert f"ttnn.open_mesh_device(ttnn.MeshShape{mesh})" in text
    assert "ttnn.set_fabric_config(ttnn.FabricConfig.FABRIC_1D)" in text
    imported = set(re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE))
    assert imported == {"pathlib", "safetensors", "torch", "ttnn"}


@pytest.mark.parametrize(
    ("name", "model_class", "shape"),
    [
        ("ttnn.all_reduce", ParallelLlama, (1, 2)),
        ("ttnn.all_reduce", ParallelLlama, (2, 2)),
        ("ttnn.reduce_scatter", Scattered, (1, 2)),
        ("ttnn.all_gather", Scattered, (2, 2)),
    ],
    ids=str,
)
def test_a_wrong_collective_differs_with_the_fault_alone(
    name, model_class, shape, opened, tmp_path
):
    with (
        opened(shape) as mesh,
        ttnn_emulator.binding_replaced(name, doubled_on_the_last_chip),
    ):
        found, path = captured_in(model_class, mesh, tmp_path)
    assert (found.status, found.operation) == (finding.WRONG, name), found.line
    check_text(path.read_text(), found, shape)
    status, lines = run_faulty(path, name)
    assert (status, lines[-1]) == (1, "differs"), lines
    chips = {line.partition(":")[0]: line.rpartition(": ")[2] for line in lines[-5:-1]}
    assert chips.pop(found.chip) == "differs"
    assert set(chips.values()) == {"agrees"}
    status, lines = run_healthy(path)
    assert (status, lines[-1]) == (0, "agrees"), lines


class OtherSum(ParallelLlama):
    """With another sum after the attention of layer 1."""

    count = 0

    def sum(self, x):
        self.count += 1
        return self.other(x) if self.count % 4 == 3 else super().sum(x)


class SumOfSums(OtherSum):
    def other(self, x):
        return ParallelLlama.sum(self, ParallelLlama.sum(self, x))


class AlongRows(OtherSum):
    def other(self, x):
        return ttnn.all_reduce(x, cluster_axis=0)


@pytest.mark.parametrize(("model_class", "shape"), [(SumOfSums, (1, 2)), (AlongRows, (2, 2))])
def test_a_misused_collective_differs_from_hugging_face(model_class, shape, opened, tmp_path):
    with opened(shape) as mesh:
        found, path = captured_in(model_class, mesh, tmp_path)
    assert (found.status, found.operation) == (finding.MISUSED, "ttnn.all_reduce"), found.line
    check_text(path.read_text(), found, shape)
    assert "it should hold layers.1.o_proj of Hugging Face's" in path.read_text()
    status, lines = run_healthy(path)
    assert (status, lines[-1]) == (1, "differs"), lines
    assert all(line.endswith(": differs") for line in lines[-1 - shape[0] * shape[1] : -1])


# --- operands -------------------------------------------------------------------------------------

ROWS, TILES = ttnn.ROW_MAJOR_LAYOUT, ttnn.TILE_LAYOUT


@pytest.mark.parametrize("same", [False, True], ids=["parts", "the same"])
@pytest.mark.parametrize("padding", [None, 7.0])
@pytest.mark.parametrize(
    ("dtype", "layout", "shape"),
    [
        (ttnn.bfloat16, TILES, (1, 2, 33, 40)),
        (ttnn.bfloat16, ROWS, (1, 2, 33, 40)),
        (ttnn.float32, TILES, (1, 1, 32, 64)),
        (ttnn.bfloat8_b, TILES, (1, 1, 33, 96)),
        (ttnn.uint32, ROWS, (1, 32)),
    ],
    ids=str,
)
def test_an_operand_is_on_each_chip_as_it_was(
    dtype, layout, shape, padding, same, opened, tmp_path
):
    with opened((2, 2)) as mesh:
        values = torch.randint(0, 2**7, (4, *shape[1:])).float()
        values = values[:1].expand(values.shape).contiguous() if same else values
        tensor = on_each(mesh, values.int() if dtype == ttnn.uint32 else values, dtype, layout)
        if padding is not None:
            if tuple(tensor.shape) == tuple(tensor.padded_shape):
                pytest.skip("it has no padding")
            tensor = ttnn.fill_implicit_tile_padding(tensor, padding)
        call = taps.TtnnCall("ttnn.all_reduce", ttnn.all_reduce, (tensor,), {})
        kept = given.given(call, reading.Reader())
        (one,) = operands.variables(kept, ttnn.all_reduce).values()
        file = tmp_path / "operand.py"
        file.write_text("\n".join(operands.lines([one])))
        assert ("mesh_mapper" in file.read_text()) != same
        names = {"ttnn": ttnn, "torch": torch, "stored": {one.name: one.stored}, "device": mesh}
        again = runpy.run_path(str(file), names)[one.name]
        assert (again.dtype, again.layout, again.shape) == (dtype, layout, tensor.shape)
        assert again.padded_shape == tensor.padded_shape
        assert again.memory_config() == tensor.memory_config()
        for chip in range(4):
            before, after = (ttnn_emulator.contents(x, chip) for x in (tensor, again))
            assert torch.equal(before, after)


# --- the comparison -------------------------------------------------------------------------------


@pytest.fixture
def says(tmp_path, capsys):
    """What a program says of results `[C, ...]`: that of each chip, and of all."""
    return functools.partial(said_of, tmp_path / "comparing.py", capsys)


def said_of(file, capsys, expected, actual, allowed):
    wanted = WantedOfChips(
        result=0,
        shape=tuple(expected.shape[1:]),
        values=torch.stack([metrics.rows(one) for one in expected]),
        allowed=torch.tensor([allowed] * len(expected), dtype=torch.float64),
        mesh=(1, len(expected)),
        fabric=ttnn.FabricConfig.FABRIC_1D,
    )
    ttnn_of_results = types.SimpleNamespace(
        get_device_tensors=list,
        to_torch=lambda part: part,
        close_mesh_device=lambda device: None,
        set_fabric_config=lambda fabric: None,
        FabricConfig=ttnn.FabricConfig,
    )
    stored = {"expected": wanted.values, "allowed": wanted.allowed}
    file.write_text("\n".join(chips_compared.comparing("result", wanted)))
    names = {"torch": torch, "ttnn": ttnn_of_results, "stored": stored, "device": None}
    with pytest.raises(SystemExit) as exit:
        runpy.run_path(str(file), {**names, "result": actual})
    printed = capsys.readouterr().out.splitlines()
    *chips, last = [line.rpartition(": ")[2] for line in printed]
    assert exit.value.code == (last == "differs")
    return chips, last


@pytest.mark.parametrize("shape", [(1, 4, 8), (8,), (4, 1), (4, 8, 1)], ids=str)
@pytest.mark.parametrize("allowed", [(0.01, 0.02), (0.0, 0.0)])
def test_the_chip_that_differs_is_named(shape, allowed, says):
    expected = torch.randn(3, *shape, dtype=torch.float64)
    actual = expected.clone()
    assert says(expected, actual, allowed) == (["agrees"] * 3, "agrees")
    actual[1] *= 1.1
    assert says(expected, actual, allowed) == (["agrees", "differs", "agrees"], "differs")


@pytest.mark.parametrize("allowed", [(0.01, 0.02), (0.0, 0.0)])
def test_anything_is_right_where_nothing_is_expected(allowed, says):
    expected = torch.randn(3, 4, 8, dtype=torch.float64)
    actual = expected.clone()
    expected[0], expected[2, 1] = torch.nan, torch.nan
    actual[2, 1] = torch.nan
    actual[0] = 5.0
    assert says(expected, actual, allowed) == (["agrees"] * 3, "agrees")
    actual[2, 2] *= 2
    assert says(expected, actual, allowed) == (["agrees", "agrees", "differs"], "differs")


def test_a_row_of_zeros_may_be_off_by_a_share_of_the_others(says):
    expected = torch.randn(2, 4, 8, dtype=torch.float64)
    expected[:, 1] = 0.0
    actual = expected.clone()
    actual[0, 1] = 1e-4
    assert says(expected, actual, (0.01, 0.02)) == (["agrees"] * 2, "agrees")
    actual[1, 1] = 1.0
    assert says(expected, actual, (0.01, 0.02)) == (["agrees", "differs"], "differs")


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_what_is_not_finite_differs(wrong, says):
    expected = torch.randn(2, 4, 8, dtype=torch.float64)
    actual = expected.clone()
    actual[1, 0, 0] = wrong
    assert says(expected, actual, (0.01, 0.02)) == (["agrees", "differs"], "differs")
    expected[1, 0, 0] = torch.inf
    if wrong == torch.inf:
        assert says(expected, actual, (0.01, 0.02))[1] == "agrees"
