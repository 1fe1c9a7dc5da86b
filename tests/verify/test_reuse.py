"""What an earlier run of drift has computed is not computed again, and everything else is."""

import dataclasses
import pathlib

import pytest
import torch
import ttnn

import ttnn_emulator
from tests.support import shallow_model
from ttnn_verify import drift
from ttnn_verify.drift import reuse
from ttnn_verify.drift.judgement import judging
from ttnn_verify.drift.observation.walk import ModelCall
from ttnn_verify.drift.observed import Observed, Operands, ReadTensor
from ttnn_verify.drift.reuse import call_keys, passes
from ttnn_verify.files import stored
from ttnn_verify.huggingface import golden, recording
from ttnn_verify.numerics import op_floors
from ttnn_verify.ops import table

IDS = torch.arange(3, 15)[None]  # a prompt of 9 and 3 tokens after it
COMPUTING = {"ttnn.embedding", "ttnn.rms_norm", "ttnn.linear"}


@pytest.fixture
def hf_model():
    return shallow_model.in_hugging_face()


@pytest.fixture
def model(hf_model, device):
    with ttnn_emulator.arithmetic_settings("rounded"):
        yield shallow_model.InTTNN(hf_model, device)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "drift.sqlite"


@pytest.fixture
def computed(monkeypatch):
    """Names of the operations that a golden was computed of, and "pass" for Hugging Face's."""
    names, expected, record = [], table.expected_results, recording.record

    def counting(name, *args):
        names.append(name)
        return expected(name, *args)

    def recorded(*args):
        names.append("pass")
        return record(*args)

    monkeypatch.setattr(table, "expected_results", counting)
    monkeypatch.setattr(recording, "record", recorded)
    return names


def measured(model, hf_model, path, ids=IDS, **kwargs):
    with reuse.opened(path) as kept:
        return drift.measure(model, hf_model, ids, 3, session=drift.Session(kept=kept, **kwargs))


# --- a run after a run ---------------------------------------------------------------------------


def test_the_second_run_computes_no_golden_and_no_pass(model, hf_model, path, computed):
    measured(model, hf_model, path)
    assert set(computed) == COMPUTING | {"pass"}
    computed.clear()
    measured(model, hf_model, path)
    assert computed == []


def test_figures_are_the_same_bits_whether_they_were_kept_or_not(model, hf_model, path):
    without = repr(drift.measure(model, hf_model, IDS, 3))
    for _ in range(2):
        assert repr(measured(model, hf_model, path)) == without


@pytest.mark.parametrize("content", [b"", b"nothing of SQLite's" * 1000])
def test_a_damaged_file_is_computed_anew(model, hf_model, path, computed, content):
    before = measured(model, hf_model, path)
    path.write_bytes(content)
    computed.clear()
    assert repr(measured(model, hf_model, path)) == repr(before)
    assert set(computed) == COMPUTING | {"pass"}
    computed.clear()
    measured(model, hf_model, path)
    assert computed == []


# --- what is another call ------------------------------------------------------------------------


def test_an_edited_operand_is_judged_anew(model, hf_model, path, computed):
    measured(model, hf_model, path)
    computed.clear()
    model.head = ttnn.multiply(model.head, 0.5)
    measured(model, hf_model, path)
    assert set(computed) == {"ttnn.linear"}


def test_an_edited_argument_is_judged_anew(model, hf_model, path, computed):
    measured(model, hf_model, path)
    computed.clear()
    model.epsilon *= 2
    measured(model, hf_model, path)
    assert set(computed) == {"ttnn.rms_norm"}


def test_another_result_is_judged_anew(model, hf_model, path):
    """A kernel that is wrong now is not taken for the one that was right."""

    def of_ones(kernel):
        def faulty(launch, x, *rest, **kwargs):
            contents = ttnn_emulator.memory.Contents(torch.ones_like(x.data), x.padded_shape)
            return kernel(launch, dataclasses.replace(x, contents=contents), *rest, **kwargs)

        return faulty

    assert measured(model, hf_model, path).first is None
    with ttnn_emulator.binding_replaced("ttnn.linear", of_ones):
        assert measured(model, hf_model, path).first.operation == "ttnn.linear"
    assert measured(model, hf_model, path).first is None


def test_other_accuracy_is_judged_anew(model, hf_model, path, computed):
    measured(model, hf_model, path)
    computed.clear()
    measured(model, hf_model, path, accurate=True)
    assert set(computed) == COMPUTING


def test_other_code_computes_everything_anew(model, hf_model, path, computed, monkeypatch):
    measured(model, hf_model, path)
    computed.clear()
    monkeypatch.setattr(call_keys, "of_code", lambda names: b"another version")
    measured(model, hf_model, path)
    assert set(computed) == COMPUTING | {"pass"}


def test_other_tokens_and_other_weights_are_other_passes(model, hf_model, path, computed):
    measured(model, hf_model, path)
    for change in (lambda: None, lambda: hf_model.lm_head.weight.data.mul_(2)):
        change()
        computed.clear()
        measured(model, hf_model, path, IDS + 1)
        assert computed.count("pass") == 5


# --- keys ----------------------------------------------------------------------------------------


def observed(args=(), kwargs=None, name="ttnn.linear"):
    """A call with a result of one row."""
    results = (ReadTensor(1, "bfloat16", torch.ones(1, 4), None),)
    operands = Operands(args, kwargs or {}, (), (), None)
    return Observed(name, None, ModelCall(0, 0, (0,), (1,)), 0, operands, results)


def key(*args, **kwargs):
    return call_keys.CallKeys().of_operands(observed(args, kwargs), False)


def config(**kwargs):
    return ttnn.WormholeComputeKernelConfig(**kwargs)


def sdpa(**kwargs):
    return ttnn.SDPAProgramConfig(
        compute_with_storage_grid_size=(8, 8), q_chunk_size=32, k_chunk_size=32, **kwargs
    )


DIFFERENT = [
    torch.zeros(2, 3),
    torch.zeros(3, 2),
    torch.zeros(2, 3, dtype=torch.int64),
    -torch.zeros(2, 3),
    torch.full((2, 3), torch.nan),
    None,
    1,
    1.0,
    True,
    "1",
    [1, 2],
    [[1], 2],
    ["1, 2"],
    {"a": 1},
    ttnn.bfloat16,
    ttnn.float32,
    ttnn.UnaryOpType.SILU,
    ttnn.UnaryWithParam(ttnn.UnaryOpType.SILU),
    ttnn.UnaryWithParam(ttnn.UnaryOpType.GELU, 1.0),
    config(),
    config(math_fidelity=ttnn.MathFidelity.HiFi2),
    config(fp32_dest_acc_en=True),
    config(math_approx_mode=False),
    sdpa(),
    sdpa(exp_approx_mode=False),
]


def test_arguments_that_differ_in_anything_have_other_keys():
    assert len({key(value) for value in DIFFERENT}) == len(DIFFERENT)
    named = {key(activation="silu"), key(bias="silu"), key("silu")}
    assert len(named) == 3
    assert key(torch.zeros(1), torch.ones(1)) != key(torch.ones(1), torch.zeros(1))


def test_the_same_arguments_have_the_same_key():
    strided = torch.arange(6.0).reshape(3, 2).T
    assert key(strided, config()) == key(strided.contiguous(), config())


def test_where_a_result_lies_is_not_in_its_key():
    assert key(1, memory_config=ttnn.L1_MEMORY_CONFIG) == key(1, memory_config=None) == key(1)


def test_the_key_of_results_has_all_of_them():
    own = call_keys.CallKeys()
    one, other = observed(), observed()
    other.results = (dataclasses.replace(other.results[0], values=torch.zeros(1, 4)),)
    assert own.of_operands(one, False) == own.of_operands(other, False)
    assert own.of_results(one, b"key") != own.of_results(other, b"key")


def test_what_shows_nothing_of_itself_has_no_key(path):
    with pytest.raises(call_keys.NoKey, match="object"):
        key(object())
    deep = []
    deep.append(deep)
    with pytest.raises(call_keys.NoKey):
        key(deep)
    with stored.opened(path) as file:
        own = reuse.KeptVerdicts(file).own_verdicts(observed((object(),)), False)
    assert own.unknown  # the golden was asked


def test_sources_that_differ_in_anything_are_other_code(tmp_path):
    def version(files):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        return call_keys.of_sources(folder, ("ops", "judging.py"))

    files = {"ops/a.py": "x", "ops/deep/b.py": "y", "judging.py": "z"}
    assert version(files) == version(files | {"other.py": "x", "ops/a.txt": "x"})
    changed = [files | {name: "changed"} for name in files]
    renamed = {"ops/c.py": "x", "ops/deep/b.py": "y", "judging.py": "z"}
    assert len({version(one) for one in (files, renamed, *changed)}) == 5


@pytest.mark.parametrize("names", [call_keys.CODE, passes.CODE])
def test_the_code_that_results_come_from_is_there(names):
    assert all((call_keys.PACKAGE / name).exists() for name in names)
    assert "judging.py" in {pathlib.Path(name).name for name in call_keys.CODE}


# --- verdicts and floors -------------------------------------------------------------------------


@pytest.fixture
def product():
    """A product with an error beyond one rounding, which has a floor."""
    a, b = torch.randn(2, 32, 64, generator=torch.Generator().manual_seed(0)).bfloat16().float()
    values = (a @ b.T + 0.5).bfloat16().float()
    results = (ReadTensor(1, "bfloat16", values, None),)
    return dataclasses.replace(observed((a, b.T)), results=results)


def test_a_verdict_is_kept_with_all_its_figures(product, path):
    fresh = judging.own_verdicts(product, False)
    assert not fresh.worst.passed
    for _ in range(2):
        with stored.opened(path) as file:
            kept = reuse.KeptVerdicts(file).own_verdicts(product, False)
        assert repr(kept.verdicts) == repr(fresh.verdicts)
        assert kept.status == fresh.status
        assert kept.noise(0) == fresh.noise(0)


def test_a_floor_is_kept_once_it_is_asked_for(product, path, monkeypatch):
    with stored.opened(path) as file:
        reuse.KeptVerdicts(file).own_verdicts(product, False)
    with stored.opened(path) as file:
        first = reuse.KeptVerdicts(file).own_verdicts(product, False).floors[0]()
    monkeypatch.setattr(op_floors, "matmul", None)
    with stored.opened(path) as file:
        assert reuse.KeptVerdicts(file).own_verdicts(product, False).floors[0]() == first


def test_nothing_but_verdicts_is_read_from_a_file(product, path):
    with stored.opened(path) as file:
        kept = reuse.KeptVerdicts(file)
        results = kept.keys.of_results(product, kept.keys.of_operands(product, False))
        kept._put(results, pathlib.PurePath("/"))
        fresh = judging.own_verdicts(product, False)
        assert repr(kept.own_verdicts(product, False).verdicts) == repr(fresh.verdicts)


def test_data_that_only_moves_is_compared_each_time(path, computed):
    moved = observed((torch.ones(4, 1), 0, 1), name="ttnn.transpose")
    for _ in range(2):
        with stored.opened(path) as file:
            assert reuse.KeptVerdicts(file).own_verdicts(moved, False).verdicts[0].passed
    assert computed == ["ttnn.transpose"] * 2


def test_results_are_kept_beside_the_goldens(monkeypatch, tmp_path):
    monkeypatch.setenv(golden.FOLDER_VARIABLE, str(tmp_path))
    assert reuse.default_file().parent == tmp_path
