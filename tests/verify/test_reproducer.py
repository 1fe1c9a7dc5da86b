"""The first bad call as a program of its own: it differs with the fault and agrees without."""

import contextlib
import dataclasses
import importlib.metadata
import os
import re
import runpy
import subprocess
import sys

import pytest
import torch
import ttnn

import ttnn_emulator
from tests.faults import attention_faults, rotary_faults
from tests.faults.catalogue import FAULTS
from tests.faults.inject import Fault, first_operand, kernels, result
from tests.locating.places import DECODED, PROMPT, build
from tests.support.checkpoint import CHECKPOINT, ROOT, model_file
from tests.support.emulated import contents, fill_padding
from ttnn_verify import backend, drift
from ttnn_verify.drift import __main__ as command
from ttnn_verify.drift import finding, reproducer
from ttnn_verify.drift.observation import given, reading, taps
from ttnn_verify.drift.reproducer import operands, program
from ttnn_verify.pytest_plugins.device import BACKEND

SETTING = reproducer.Setting("a command", "ttnn 1", "an n150", "python -m ttnn_emulator")
MODEL_PY = model_file("functional")


def fault_named(name):
    return next(fault for fault in FAULTS if fault.name == name)


def second_result_larger(values):
    first, second = values
    return first, second * 1.1


IN_PAGES = Fault(
    "a query that is half as large again",
    "ops",
    kernels(f"ttnn.transformer.{attention_faults.PAGED_DECODE}", first_operand(lambda x: x * 1.5)),
)
OF_KEYS = Fault(
    "rotated keys too large",
    "ops",
    kernels(f"ttnn.experimental.{rotary_faults.PAIRS_DECODE}", result(second_result_larger)),
)

# Calls that do not compute what their operands make, by (stage, fault).
WRONG = [
    ("functional", fault_named("gain of 1 percent")),
    ("optimized", fault_named("last row zero")),
    ("functional", fault_named("norm weight missing")),
    ("functional", fault_named("causal mask missing")),
    ("functional", fault_named("rotate half with the other sign")),
    ("functional", fault_named("prompt's last tile not cached")),
    ("functional", fault_named("token cached one position late")),
    ("functional", fault_named("decode without the own key")),
    ("optimized", IN_PAGES),  # with a program configuration, on sharded operands
    ("optimized", OF_KEYS),
]

# Calls that are right for operands or arguments that are not.
MISUSED = [
    ("functional", fault_named("norm called without its weight")),
    ("optimized", fault_named("prompt's keys cached for values")),
    ("optimized", fault_named("decode caches one position late")),
    ("optimized", fault_named("scale of 128 columns in decode's call")),
    ("optimized", fault_named("decode rotates by the next position")),
    ("optimized", fault_named("embedding scaled")),
    ("optimized", fault_named("token ids one too large")),
]


def ids_of(cases):
    return [f"{stage}-{fault.id}" for stage, fault in cases]


@pytest.fixture(scope="module", autouse=True)
def _on_the_emulated_device(request):
    if request.config.stash[BACKEND] != "emulated":
        pytest.skip("faults are injected into the emulated device")


@pytest.fixture(scope="module")
def ids(prompt_ids):
    return prompt_ids[:, : PROMPT + DECODED]


@dataclasses.dataclass(frozen=True)
class Ran:
    """What a program printed, and its exit status."""

    out: str
    status: int

    @property
    def figures(self):
        """Relative L2 and PCC."""
        found = re.search(r"relative L2 (\S+) .*, PCC (\S+)\n", self.out)
        return float(found[1]), float(found[2])


@pytest.fixture
def run(device, monkeypatch, capsys):
    """Run a program on the session's device."""
    monkeypatch.setattr(ttnn, "open_device", lambda device_id: device)
    monkeypatch.setattr(ttnn, "close_device", lambda device: None)

    def runs(path):
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit:
            runpy.run_path(str(path), run_name="__main__")
        return Ran(capsys.readouterr().out, int(exit.value.code))

    return runs


@pytest.fixture
def reproduce(device, hf_model, ids, tmp_path):
    """Locate a fault that is injected and write its call: (finding, program)."""

    def located(stage, hf_model=hf_model):
        captured = reproducer.Capture()
        model = build(stage, hf_model, device)
        session = drift.Session(accurate=True, on_bad=captured)
        op_finding = drift.locate(model, hf_model, ids, DECODED, session)
        return op_finding, reproducer.write(captured, tmp_path / "case", SETTING)

    return located


@pytest.mark.parametrize(("stage", "fault"), WRONG, ids=ids_of(WRONG))
def test_a_wrong_call_differs_with_the_fault_alone(stage, fault, reproduce, run):
    with ttnn_emulator.arithmetic_settings("rounded"):
        with fault.inject():
            op_finding, path = reproduce(stage)
            faulty = run(path)
        healthy = run(path)
    comparison = op_finding.verdict.comparison
    assert op_finding.status == finding.WRONG
    assert faulty.out.endswith("\ndiffers\n")
    assert faulty.status == 1
    assert faulty.figures == pytest.approx((comparison.relative_l2, comparison.pcc), rel=0.005)
    assert healthy.out.endswith("\nagrees\n"), healthy.out
    assert healthy.status == 0
    check_text(path.read_text(), op_finding)


@pytest.mark.parametrize(("stage", "fault"), MISUSED, ids=ids_of(MISUSED))
def test_a_misused_call_differs_from_hugging_face(stage, fault, reproduce, run):
    with ttnn_emulator.arithmetic_settings("rounded"):
        with fault.inject():
            op_finding, path = reproduce(stage)
        healthy = run(path)
    assert op_finding.status == finding.MISUSED
    assert healthy.out.endswith("\ndiffers\n"), healthy.out
    assert healthy.status == 1
    check_text(path.read_text(), op_finding)
    assert "right for these operands, but it should hold " in path.read_text().splitlines()[0]


def check_text(text, op_finding):
    assert len(text.splitlines()) <= program.MOST_LINES
    assert text.startswith(f"# {op_finding.operation}: ")
    header = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    for said in (op_finding.where, op_finding.line, SETTING.versions, SETTING.device):
        assert said in header
    imported = set(re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE))
    assert imported == {"pathlib", "safetensors", "torch", "ttnn"}


def test_the_wrong_one_of_several_results_is_compared(reproduce):
    with ttnn_emulator.arithmetic_settings("rounded"), OF_KEYS.inject():
        _, path = reproduce("optimized")
    assert "ttnn.to_torch(result[1])" in path.read_text()


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("decode caches nothing", "a call is missing"),
        ("last token trimmed wrongly", "no call made"),
        ("logits of the filling tokens", "not known what the call should have made"),
    ],
)
def test_what_is_no_call_is_not_written(fault, says, reproduce, tmp_path):
    with (
        ttnn_emulator.arithmetic_settings("rounded"),
        fault_named(fault).inject(),
        pytest.raises(reproducer.NotReproducible, match=says),
    ):
        reproduce("optimized")
    assert not (tmp_path / "case").exists()


# --- operands -------------------------------------------------------------------------------------


def sharded(shape):
    cores = ttnn.CoreRangeSet([ttnn.CoreRange(ttnn.CoreCoord(1, 0), ttnn.CoreCoord(2, 0))])
    spec = ttnn.ShardSpec(cores, shape, ttnn.ShardOrientation.ROW_MAJOR)
    return ttnn.MemoryConfig(ttnn.TensorMemoryLayout.HEIGHT_SHARDED, ttnn.BufferType.L1, spec)


TILE, ROWS = ttnn.TILE_LAYOUT, ttnn.ROW_MAJOR_LAYOUT
DRAM, L1 = ttnn.DRAM_MEMORY_CONFIG, ttnn.L1_MEMORY_CONFIG
OPERANDS = [
    (ttnn.bfloat16, TILE, DRAM, (1, 2, 33, 40)),
    (ttnn.bfloat16, ROWS, L1, (1, 2, 33, 40)),
    (ttnn.bfloat16, TILE, sharded([32, 64]), (1, 1, 64, 64)),
    (ttnn.bfloat16, TILE, sharded([32, 64]), (1, 2, 5, 40)),
    (ttnn.bfloat16, ROWS, sharded([4, 64]), (1, 1, 8, 64)),
    (ttnn.float32, TILE, L1, (1, 1, 32, 40)),
    (ttnn.bfloat8_b, TILE, DRAM, (1, 1, 33, 96)),
    (ttnn.bfloat4_b, TILE, DRAM, (1, 1, 32, 96)),
    (ttnn.int32, ROWS, DRAM, (7,)),
    (ttnn.uint32, ROWS, DRAM, (2, 32)),
    (ttnn.uint32, TILE, DRAM, (1, 1, 32, 32)),
    (ttnn.uint16, ROWS, DRAM, (1, 1, 1, 32)),
]


def values_of(dtype, shape):
    if dtype in (ttnn.int32, ttnn.uint32, ttnn.uint16):
        lowest = -5 if dtype == ttnn.int32 else 0
        values = torch.randint(lowest, 2**15, shape)
        values.flatten()[0] = 2**31 if dtype == ttnn.uint32 else 1
        return values
    return torch.randn(shape) * torch.logspace(-8, 8, shape[-1])


def made_again(tensor, device, file):
    """A tensor as a program, written to `file`, makes it from what was kept of it."""
    call = taps.TtnnCall("ttnn.silu", ttnn.silu, (tensor,), {})
    kept = given.given(call, reading.Reader())
    (variable,) = operands.variables(kept, ttnn.silu).values()
    file.write_text("\n".join(operands.lines([variable])))
    stored = {variable.name: variable.stored}
    names = {"ttnn": ttnn, "torch": torch, "stored": stored, "device": device}
    return runpy.run_path(str(file), names)[variable.name]


@pytest.mark.parametrize(("dtype", "layout", "place", "shape"), OPERANDS)
@pytest.mark.parametrize("padding", [None, 7.0])
def test_an_operand_is_made_again_bit_for_bit(
    dtype, layout, place, shape, padding, device, tmp_path
):
    tensor = ttnn.from_torch(
        values_of(dtype, shape), dtype, layout=layout, device=device, memory_config=place
    )
    if padding is not None:
        if tuple(tensor.shape) == tuple(tensor.padded_shape):
            pytest.skip("it has no padding")
        fill_padding(padding, tensor)
    again = made_again(tensor, device, tmp_path / "operand.py")
    assert (again.dtype, again.layout, again.tile) == (dtype, layout, tensor.tile)
    assert again.memory_config() == tensor.memory_config()
    assert again.shape == tensor.shape
    assert again.padded_shape == tensor.padded_shape
    assert torch.equal(contents(again), contents(tensor))


def test_an_operand_on_the_host_stays_there(device, tmp_path):
    tensor = ttnn.from_torch(torch.randn(1, 1, 32, 32), ttnn.bfloat16, layout=TILE)
    again = made_again(tensor, device, tmp_path / "operand.py")
    assert again.storage_type() == ttnn.StorageType.HOST
    assert torch.equal(again.to_torch(), tensor.to_torch())


def test_zeros_and_equal_tensors_take_no_room(device):
    x, y = (
        ttnn.from_torch(torch.zeros(1, 1, 32, 32), ttnn.bfloat16, layout=TILE, device=device)
        for _ in range(2)
    )
    call = taps.TtnnCall("ttnn.concat", ttnn.concat, ([x, y, x], 0), {})
    kept = given.given(call, reading.Reader())
    made = operands.variables(kept, ttnn.concat)
    assert [variable.name for variable in made.values()] == ["tensors_0", "tensors_1"]
    (line,) = operands.lines(made.values())
    assert line.startswith("tensors_0, tensors_1 = (ttnn.from_torch(torch.zeros((1, 1, 32, 32), ")
    assert [variable.stored for variable in made.values()] == [None, None]


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def main(device, monkeypatch, capsys):
    """The command on the session's device: (exit status, lines of its output)."""

    def run(*args):
        with ttnn_emulator.arithmetic_settings("rounded"):
            given = [str(MODEL_PY), "--model", str(CHECKPOINT), "--decoded", "1", *args]
            status = command.main(given)
        return status, capsys.readouterr().out.splitlines()

    monkeypatch.setattr(backend, "open_device", lambda *args: contextlib.nullcontext(device))
    return run


def test_the_command_writes_the_first_bad_call(main, run, tmp_path):
    folder = tmp_path / "case"
    with fault_named("gain of 1 percent").inject():
        status, out = main("--first", "--reproduce", str(folder))
    assert status == 1
    assert out[-1] == f"reproducer: {folder / 'reproduce.py'}"
    assert out[-2].startswith("first bad op: ")
    assert sorted(file.name for file in folder.iterdir()) == [
        "operands.safetensors",
        "reproduce.py",
    ]
    text = (folder / "reproduce.py").read_text()
    assert out[-2].removeprefix("first bad op: ") in text
    assert "WORMHOLE_B0" in text
    assert f"ttnn {importlib.metadata.version('ttnn')}" in text


def test_it_does_so_beside_the_table(main, tmp_path):
    (tmp_path / "case").mkdir()
    with fault_named("norm weight missing").inject():
        status, out = main("--reproduce", str(tmp_path / "case"))
    assert status == 1
    assert out[-2].startswith("first bad op: layer 0")
    assert out[-1].startswith("reproducer: ")


def test_without_a_bad_call_it_writes_nothing(main, tmp_path):
    status, out = main("--first", "--reproduce", str(tmp_path / "case"))
    assert status == 0, out
    assert out[-2:] == ["no drift", "nothing to reproduce: no call is to blame."]
    assert not (tmp_path / "case").exists()


def test_an_argument_that_cannot_be_written_is_named_and_the_verdict_stays(
    main, monkeypatch, tmp_path
):
    monkeypatch.setattr(operands, "variables", lambda call, operation: {})
    monkeypatch.setattr(program, "source", unwritable)
    with fault_named("gain of 1 percent").inject():
        status, out = main("--first", "--reproduce", str(tmp_path / "case"))
    assert status == 1
    assert out[-2].startswith("first bad op: ")
    assert out[-1] == (
        "no reproducer: ttnn.linear is called with an argument 0 that cannot be written: it."
    )
    assert not (tmp_path / "case").exists()


def unwritable(value, named):
    raise program.NotWritable("it")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--frugal", "--reproduce", "case"], "--frugal"),
        (["--reproduce", "nowhere/case"], "there is no such folder to write to"),
        (["--reproduce", "."], "no empty folder"),
        (["--reproduce", "file"], "no empty folder"),
    ],
)
def test_where_it_cannot_write_is_refused_at_once(args, says, monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    assert command.main([str(MODEL_PY), "--model", str(CHECKPOINT), *args]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert says in err


@pytest.mark.parametrize(
    ("fault", "status", "says"),
    [
        ("norm weight missing", 0, "agrees"),
        ("norm called without its weight", 1, "differs"),
    ],
)
def test_a_user_runs_it_from_another_folder(fault, status, says, reproduce, tmp_path):
    with ttnn_emulator.arithmetic_settings("rounded"), fault_named(fault).inject():
        _, path = reproduce("functional")
    ran = subprocess.run(
        [sys.executable, "-m", "ttnn_emulator", "--arithmetic", "rounded", str(path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == status, ran.stderr
    assert ran.stdout.splitlines()[-1] == says
