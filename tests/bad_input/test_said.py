"""What is said of single wrong inputs: the sentence that helps, and who is at fault."""

import json
import shutil
import subprocess
import sys

import pytest
import safetensors.torch
import torch

from scripts import run_eval
from tests.support.checkpoint import ROOT, STAGES, model_file
from ttnn_verify import cli, eval_command
from ttnn_verify.drift import __main__ as drift_command

from . import bad_files, commands, tiny_checkpoint

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
WEIGHTS = "model.safetensors"


@pytest.fixture
def checkpoint(tiny, tmp_path):
    """A copy of the tiny checkpoint."""
    return shutil.copytree(tiny, tmp_path / "checkpoint")


@pytest.fixture
def altered(checkpoint):
    """Change fields of the copy's configuration, and its weights by a function of theirs."""

    def change(weights=None, **fields):
        config = json.loads((checkpoint / "config.json").read_text())
        (checkpoint / "config.json").write_text(json.dumps(config | fields))
        if weights is not None:
            own = safetensors.torch.load((checkpoint / WEIGHTS).read_bytes())
            made = safetensors.torch.save(weights(own), {"format": "pt"})
            (checkpoint / WEIGHTS).write_bytes(made)

    return change


@pytest.fixture
def run(checkpoint, on_the_device, capfd, tmp_path):
    """Run eval.py, or another command, on the copy."""

    def run(*options, main=eval_command.main, model_py=None, source=tiny_checkpoint.MODEL_PY):
        (tmp_path / "model.py").write_text(source)
        words = [model_py or tmp_path / "model.py", "--model", checkpoint, *on_the_device]
        if not any(str(option).startswith("--prompt") for option in options):
            words.append(f"--prompt={tiny_checkpoint.PROMPT}")
        if main is eval_command.main:
            words += ["--max_seq_len=32", "--max_new_tokens=8"]
        return commands.run(main, [*words, *options], capfd)

    return run


# --- config.json ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"hidden_size": "64"}, "'hidden_size' expected int, got str"),
        ({"vocab_size": 0}, "vocab_size is 0"),
        ({"vocab_size": -1}, "vocab_size is -1"),
        ({"max_position_embeddings": 0}, "max_position_embeddings is 0"),
        ({"num_hidden_layers": 10**9}, "1000000000 layers, and the checkpoint no more than 9 w"),
        ({"intermediate_size": 96}, "has shape [64, 64], and the configuration asks for [64, 96]"),
        ({"hidden_act": "phi3"}, "transformers knows no"),
        ({"model_type": "bert"}, "lacks 28 weights"),
        ({"model_type": "nonsense"}, "`nonsense` but Transformers does not recognize"),
        ({"model_type": ["phi3"]}, "the configuration of"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "does not load"),
        ({"dtype": "float8"}, "float8"),
        ({"rope_parameters": {"rope_type": ["longrope"]}}, "rope type ['longrope']"),
    ],
    ids=str,
)
def test_a_wrong_configuration(altered, run, fields, says):
    altered(**fields)
    ended = run()
    assert ended.status == cli.WRONG_USE
    assert says in ended.err
    assert commands.wrong(ended) == []


@pytest.mark.parametrize("kind", ["flash_attention_2", "nonsense", 5])
def test_attention_that_a_cpu_has_not_is_computed_in_another_way_and_said(altered, run, kind):
    altered(_attn_implementation=kind)
    ended = run()
    assert ended.status == cli.FINE
    assert f"asks for attention {kind!r}; Hugging Face's model computes 'eager'" in ended.err


def test_quantization_that_transformers_leaves_out_is_said(altered, run):
    altered(quantization_config={"quant_method": "nonsense"})
    ended = run()
    assert ended.status == cli.FINE
    assert "asks for quantization {'quant_method': 'nonsense'}, which transfo" in ended.err


@pytest.mark.parametrize(
    "contents", [b"5", b"null", b"[]", b'"phi3"', b"[" * 100_000, b"{", b"\xff\xfe"]
)
def test_a_config_json_that_is_no_object(checkpoint, run, contents):
    (checkpoint / "config.json").write_bytes(contents)
    ended = run()
    assert ended.status == cli.WRONG_USE
    assert "config" in ended.err
    assert "JSON" in ended.err or "json" in ended.err
    assert commands.wrong(ended) == []


# --- weights -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 7, 8, 500, -1])
def test_weights_that_are_cut_off_are_damaged(checkpoint, run, size):
    contents = (checkpoint / WEIGHTS).read_bytes()
    (checkpoint / WEIGHTS).write_bytes(contents[:size])
    ended = run()
    assert ended.status == cli.WRONG_USE
    assert f"{WEIGHTS}' are damaged" in ended.err


def test_weights_that_nothing_uses_are_said(altered, run):
    altered(lambda weights: bad_files.CHANGES["another layer"](weights, ""))
    ended = run()
    assert ended.status == cli.FINE
    (note,) = ended.err.splitlines()
    assert "has 6 weights, 'model.layers.1." in note
    assert note.startswith("note: ")
    assert note.endswith("which its configuration has no place for: ignored.")


def test_a_missing_weight_is_named(altered, run):
    altered(lambda weights: bad_files.CHANGES["no"](weights, "model.norm.weight"))
    ended = run()
    assert ended.status == cli.WRONG_USE
    assert "lacks the weight 'model.norm.weight'" in ended.err


FAULT = "Hugging Face's own logits are not finite"


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize(
    ("main", "options"),
    [
        (eval_command.main, ()),
        (drift_command.main, ("--no_reuse", "--decoded=1")),
        (drift_command.main, ("--no_reuse", "--decoded=1", "--first")),
        (drift_command.main, ("--no_reuse", "--decoded=1", "--frugal")),
    ],
    ids=["eval", "drift", "first", "frugal"],
)
def test_a_reference_that_is_not_finite_is_at_fault_itself(altered, run, bad, main, options):
    altered(lambda weights: weights | {HEAD: torch.full_like(weights[HEAD], bad)})
    ended = run(*options, main=main)
    assert ended.status == cli.UNDETERMINED
    assert FAULT in ended.err
    assert "not the TTNN model's" in ended.err


def test_hugging_faces_model_is_at_fault_where_it_is_the_one_that_fails(altered, run):
    altered(is_encoder_decoder=True)
    ended = run()
    assert ended.status == cli.UNDETERMINED
    assert "Hugging Face's own model fails" in ended.err


def test_run_eval_says_it_of_hugging_face_alone(altered, checkpoint, capfd, on_the_device):
    altered(lambda weights: weights | {HEAD: torch.full_like(weights[HEAD], torch.nan)})
    words = ("--mode=hf", "--hf-model=tiny", "--model-path", checkpoint, "--max-seq-len=32")
    sizes = ("--prefill-len=5", "--decode-len=4")
    ended = commands.run(run_eval.main, (*words, *sizes, *on_the_device), capfd)
    assert ended.status == cli.UNDETERMINED
    assert FAULT in ended.err


def test_a_constant_models_pcc_is_a_number(altered, run):
    altered(lambda weights: weights | {HEAD: torch.zeros_like(weights[HEAD])})
    ended = run()
    assert "nan" not in ended.out
    assert "Logits PCC:     1.000000 (least 1.000000" in ended.out


# --- lm_head -------------------------------------------------------------------------------------


def _shared(weights):
    return {name: x for name, x in weights.items() if name != HEAD}


TIED = {
    "both differ": lambda weights: weights,
    "both equal": lambda weights: weights | {HEAD: weights[EMBEDDING].clone()},
    "embedding alone": _shared,
    "head alone": lambda weights: {n: x for n, x in weights.items() if n != EMBEDDING},
}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("there", TIED)
def test_a_tied_head_is_the_one_that_transformers_uses(altered, run, there, stage):
    altered(TIED[there], tie_word_embeddings=True)
    ended = run(model_py=model_file(stage))
    assert ended.status == cli.FINE
    assert "Top-1 accuracy: 100.00%" in ended.out
    own = "has an lm_head of its own, which is used, though its configuration says tied."
    assert (own in ended.err) == (there == "both differ")


# --- the model file ------------------------------------------------------------------------------

RAISING = """
class Ended(KeyboardInterrupt):
    pass

def build_model(hf_model, tt_device, max_seq_len):
    raise {error}
"""


@pytest.mark.parametrize("error", ["SystemExit(0)", "GeneratorExit()", "Ended()"])
def test_a_model_file_does_not_end_the_command_with_a_status_of_its_own(run, error):
    ended = run(source=RAISING.format(error=error))
    assert ended.status == cli.UNDETERMINED
    assert f"build_model ends the program: {error.partition('(')[0]}" in ended.err
    assert "model.py:6" in ended.err


def test_ctrl_c_is_nobodys_failure(run):
    with pytest.raises(KeyboardInterrupt):
        run(source=RAISING.format(error="KeyboardInterrupt()"))


CAPACITY = """
class Model:
    max_length = {length}

    def __call__(self, **inputs):
        raise AssertionError

def build_model(hf_model, tt_device, max_seq_len):
    return Model()
"""


@pytest.mark.parametrize("length", ["'long'", "-1", "0", "True", "64.0"])
def test_a_models_length_is_a_number_of_positions(run, length):
    ended = run(source=CAPACITY.format(length=length))
    assert ended.status == cli.UNDETERMINED
    assert f"max_length is {length}" in ended.err


# --- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [str(10**26), "9" * 5000, "-9223372036854775809", "1.5", ""])
def test_a_seed_that_torch_does_not_take(run, seed):
    ended = run(f"--seed={seed}")
    assert ended.status == cli.WRONG_USE
    assert "is no seed: a whole number from -2^63 to 2^64 - 1." in ended.err
    assert commands.wrong(ended) == []


@pytest.mark.parametrize("seed", ["0", "-9223372036854775808", "18446744073709551615"])
def test_a_seed_that_torch_takes(run, seed):
    assert run(f"--seed={seed}").status == cli.FINE


def test_names_that_are_too_long_for_any_file(run, checkpoint, tmp_path, capfd):
    name = "x" * 5000
    tt = ("--mode=tt", "--hf-model=tiny", f"--model-path={checkpoint}", f"--system={name}")
    ids = (tmp_path / "model.py", "--model", checkpoint, f"--prompt_ids_file={name}")
    sized = ("--max_seq_len=32", "--max_new_tokens=2")
    for ended in (
        commands.run(eval_command.main, (name, "--model", checkpoint), capfd),
        commands.run(eval_command.main, (tmp_path, "--model", name), capfd),
        commands.run(run_eval.main, tt, capfd),
        run(f"--reproduce={name}", main=drift_command.main),
        run(f"--prompt_file={name}"),
        commands.run(eval_command.main, (*ids, *sized), capfd),
    ):
        assert ended.status == cli.WRONG_USE
        assert commands.wrong(ended) == []


# --- processes of their own, whose stderr is all that is printed ---------------------------------


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (("eval.py", "{model}", "--model={checkpoint}", "--prompt=w3 w4"), 125),
        (
            ("-m", "ttnn_verify.drift", "{model}", "--model={checkpoint}", "--prompt=w3 w4 w5 w6"),
            125,
        ),
    ],
    ids=lambda value: value if isinstance(value, int) else value[-2],
)
def test_a_process_prints_one_sentence_and_nothing_else(checkpoint, tmp_path, command, status):
    (tmp_path / "model.py").write_text("import sys\nsys.exit(0)\n")
    places = {"model": tmp_path / "model.py", "checkpoint": checkpoint}
    words = [word.format(**places) for word in command]
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    ended = commands.Ended(done.returncode, done.stdout, done.stderr)
    assert ended.status == status
    assert commands.wrong(ended) == []
