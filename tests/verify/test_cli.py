"""The options that command lines share: both spellings, counts, refusals in one line."""

import argparse

import pytest

import eval as evaluation_command
from scripts import run_eval
from ttnn_verify import cli
from ttnn_verify.drift import __main__ as drift_command

EVAL = (evaluation_command.parse, ["model.py", "--model", "m"])
DRIFT = (drift_command.parse, ["model.py", "--model", "m"])
RUN_EVAL = (run_eval.parse, ["--mode", "tt", "--hf-model", "m"])


@pytest.mark.parametrize(
    ("name", "both"),
    [
        ("--max_seq_len", ("--max_seq_len", "--max-seq-len")),
        ("--prefill-len", ("--prefill-len", "--prefill_len")),
        ("--model", ("--model",)),
    ],
)
def test_an_option_of_several_words_has_two_spellings(name, both):
    assert cli.spellings(name) == both


@pytest.mark.parametrize(
    ("command", "option"),
    [
        *((EVAL, name) for name in ("max_new_tokens", "min_new_tokens", "max_seq_len")),
        *((DRIFT, name) for name in ("max_seq_len", "prompt_tokens")),
        *((RUN_EVAL, name) for name in ("max_seq_len", "prefill_len", "decode_len")),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0].__module__,
)
def test_every_command_takes_both_spellings(command, option):
    parse, required = command
    for spelling in (option, option.replace("_", "-")):
        args = parse([*required, f"--{spelling}", "17", *_room(option)])
        assert getattr(args, option) == 17


def _room(option):
    """So many new tokens that 17 of them may be asked for."""
    return ["--min_new_tokens", "1"] if option == "max_new_tokens" else []


@pytest.mark.parametrize("command", [EVAL, DRIFT, RUN_EVAL], ids=["eval", "drift", "run_eval"])
def test_every_command_knows_where_to_run_and_what_to_build(command):
    parse, required = command
    args = parse([*required, "--backend", "emulated", "--arithmetic", "rounded"])
    assert (args.backend, args.arithmetic) == ("emulated", "rounded")
    assert (args.max_seq_len, args.device_id, args.cache_dir) == (256, 0, None)
    assert (args.prompt, args.prompt_file, args.prompt_ids_file) == (None, None, None)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "", "many"])
def test_a_count_is_at_least_one(text):
    with pytest.raises(argparse.ArgumentTypeError, match="whole number of at least 1"):
        cli.positive(text)


def test_a_refusal_is_one_line(capsys):
    assert cli.refuse(ValueError("first\n  second")) == cli.WRONG_USE
    assert capsys.readouterr().err == "error: first second\n"
