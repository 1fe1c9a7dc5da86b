"""Weights of large models: mapped as they are stored, cast as they are used, given back."""

import copy
import json
import mmap
import pathlib
import subprocess
import sys

import pytest
import safetensors
import safetensors.torch
import torch
import transformers

import ttnn_emulator
from tests.support import shallow_model
from tests.support.checkpoint import CHECKPOINT, ROOT, model_file
from ttnn_verify import drift
from ttnn_verify.drift import observed
from ttnn_verify.drift.reuse import passes
from ttnn_verify.huggingface import accuracy, inputs, recording
from ttnn_verify.weights import mapped, upcast

IDS = torch.arange(4, 24)[None]


def both(folder, monkeypatch):
    """A checkpoint in float32: as a small one is loaded, and as a large one."""
    checkpoint = inputs.find_checkpoint(str(folder))
    plain = checkpoint.hf_model(torch.float32)
    monkeypatch.setattr(inputs, "LARGE", 0)
    large = checkpoint.hf_model(torch.float32)
    assert {weight.dtype for weight in plain.parameters()} == {torch.float32}
    assert {weight.dtype for weight in large.parameters()} == {torch.bfloat16}
    assert upcast.dtype_of(plain) == upcast.dtype_of(large) == torch.float32
    for model in (plain, large):
        model.set_attn_implementation("eager")
    return plain, large


# --- cast as they are used -----------------------------------------------------------------------


def test_both_ways_compute_the_same_bits(monkeypatch):
    plain, large = both(CHECKPOINT, monkeypatch)
    expected, actual = (accuracy.reference(model, IDS, 4) for model in (plain, large))
    assert torch.equal(actual.tokens, expected.tokens)
    assert torch.equal(actual.logits, expected.logits)


def test_both_ways_are_recorded_alike(monkeypatch):
    """The recorder runs each module's forward again, on rounded inputs."""
    plain, large = (recording.record(model, IDS) for model in both(CHECKPOINT, monkeypatch))
    assert large.steps == plain.steps
    for part in ("values", "isolated"):
        expected, actual = getattr(plain, part), getattr(large, part)
        assert all(torch.equal(actual[name], expected[name]) for name in expected)


def test_both_ways_have_the_same_floors(monkeypatch):
    models = both(CHECKPOINT, monkeypatch)
    plain, large = (drift._logits_floor(model, IDS, drift.Session()) for model in models)
    assert large == plain


@pytest.mark.parametrize("kind", ["Gemma3Text", "Llama", "Mixtral", "GPTNeoX"])
def test_of_other_architectures(kind, tmp_path, monkeypatch):
    """Gemma's embeddings are multiplied by a buffer, the root of 72: in bfloat16 it is rounded."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=96,
        hidden_size=72,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=64,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = transformers.AutoModelForCausalLM.from_config(config).bfloat16()
    model.save_pretrained(tmp_path)
    plain, large = both(tmp_path, monkeypatch)
    with torch.no_grad():
        assert torch.equal(large(IDS).logits, plain(IDS).logits)


def test_a_checkpoint_in_float32_stays_so(tmp_path, monkeypatch):
    """Whatever dtype its configuration names."""
    inputs.find_checkpoint(str(CHECKPOINT)).hf_model(torch.float32).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}))
    monkeypatch.setattr(inputs, "LARGE", 0)
    model = inputs.find_checkpoint(str(tmp_path)).hf_model(torch.float32)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_a_copy_computes_with_weights_of_its_own(monkeypatch):
    _, large = both(CHECKPOINT, monkeypatch)
    with torch.no_grad():
        other = copy.deepcopy(large)
        other.lm_head.weight.zero_()
        assert not other(IDS).logits.any()
        assert large(IDS).logits.any()


# --- given back ----------------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path):
    """A tensor of 8 MB, mapped from a file, and its values."""
    values = torch.arange(2_000_000, dtype=torch.float32)
    safetensors.torch.save_file({"x": values}, tmp_path / "x.safetensors")
    with safetensors.safe_open(tmp_path / "x.safetensors", framework="pt") as file:
        return file.get_slice("x")[...], values


def in_memory(tensor):
    """How many pages of a tensor the process has mapped."""
    first, count = tensor.data_ptr() // mmap.PAGESIZE, tensor.nbytes // mmap.PAGESIZE
    with open("/proc/self/pagemap", "rb") as file:
        file.seek(first * mapped.ENTRY)
        entries = file.read(count * mapped.ENTRY)
    return sum(byte >> 7 for byte in entries[7 :: mapped.ENTRY])


def test_pages_of_a_file_are_given_back_and_read_again(stored):
    tensor, values = stored
    assert torch.equal(tensor, values)
    before = in_memory(tensor)
    mapped.release([tensor])
    assert before > 1000
    assert in_memory(tensor) <= 2  # those that it shares with its neighbours
    assert torch.equal(tensor, values)


def test_what_was_written_stays(stored):
    tensor, values = stored
    tensor[1_000_000] = values[1_000_000] = -1.0
    mapped.release([tensor])
    assert torch.equal(tensor, values)


@pytest.mark.parametrize("make", [torch.ones, torch.zeros])
def test_memory_of_the_process_stays(make):
    tensor = make(2_000_000)
    total = float(tensor.sum())
    mapped.release([tensor, torch.empty(3_000_000, device="meta"), tensor[::2]])
    assert float(tensor.sum()) == total


# --- what drift keeps ----------------------------------------------------------------------------


def test_a_walk_without_the_weights_of_its_calls_finds_the_same(device, monkeypatch):
    hf_model = shallow_model.in_hugging_face()
    found = []
    for least in (observed.LARGE_WEIGHT, 0):
        monkeypatch.setattr(observed, "LARGE_WEIGHT", least)
        with ttnn_emulator.arithmetic_settings("rounded"):
            model = shallow_model.InTTNN(hf_model, device)
            found.append(repr(drift.measure(model, hf_model, torch.arange(3, 15)[None])))
    assert found[0] == found[1]


def test_a_large_pass_is_not_packed(monkeypatch):
    monkeypatch.setattr(passes, "LARGEST", 1)
    monkeypatch.setattr(passes, "_packed", None)

    class Nothing:
        def get(self, key):
            return None

    kept = passes.KeptPasses(Nothing())
    kept.record(shallow_model.in_hugging_face(), torch.arange(3, 15)[None])


# --- memory --------------------------------------------------------------------------------------

# A run of a tiny checkpoint first, so that only what the large one takes is counted.
PEAK = """
import resource, sys
from ttnn_verify import eval_command
from ttnn_verify.huggingface import inputs

inputs.LARGE = 0
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
folders, arguments = sys.argv[1:3], sys.argv[3:]
for folder in folders:
    before = peak()
    eval_command.main([*arguments, "--model", folder])
print("grown by", peak() - before)
"""


@pytest.fixture
def large(tmp_path):
    """A folder with 290 MB of weights, as phi3-tiny but for the sizes; their bytes."""
    torch.manual_seed(0)
    config = transformers.AutoConfig.from_pretrained(CHECKPOINT)
    config.hidden_size, config.intermediate_size, config.num_hidden_layers = 1152, 3072, 9
    config.num_attention_heads = config.num_key_value_heads = 12
    model = transformers.Phi3ForCausalLM(config).bfloat16()
    model.save_pretrained(tmp_path)
    return tmp_path, sum(weight.nbytes for weight in model.parameters())


def test_a_reference_in_float32_takes_no_memory_of_its_own(large, tmp_path):
    """The mapped weights, the device's, and a few modules in float32: not all of these."""
    folder, size = large
    ids = tmp_path / "ids.txt"
    ids.write_text("4 5 6 7 8")
    options = ["--prompt_ids_file", ids, "--max_new_tokens", 2, "--arithmetic", "rounded"]
    options += ["--reference-dtype", "float32"]
    words = map(str, (CHECKPOINT, folder, model_file("optimized"), *options))
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *words], check=True, cwd=ROOT, capture_output=True, text=True
    )
    grown = int(done.stdout.rpartition("grown by ")[2])
    assert size > 280e6
    assert grown < 2.7 * size, f"{grown / size:.2f} times the weights"


# --- the checkpoint of full size -----------------------------------------------------------------


def write(*arguments):
    """Run the script that writes one."""
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.full_size_checkpoint", *map(str, arguments)],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("folder", "layers", "says"),
    [
        ("there", 1, "is there already"),
        ("nowhere/new", 1, "no such folder"),
        ("new", 10_000, "GB are needed"),
        ("new", 0, "'0' is not a whole number"),
    ],
)
def test_a_checkpoint_that_cannot_be_written_is_refused(tmp_path, folder, layers, says):
    (tmp_path / "there").mkdir()
    done = write(tmp_path / folder, "--layers", layers)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("error: ")
    assert says in done.stderr
    assert [path.name for path in pathlib.Path(tmp_path).iterdir()] == ["there"]
