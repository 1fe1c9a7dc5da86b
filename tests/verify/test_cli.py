"""The options that command lines share: both spellings, counts, refusals in one line."""

import argparse
import contextlib
import re

import pytest

from scripts import run_eval
from ttnn_verify import cli
from ttnn_verify import eval_command as evaluation_command
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


@pytest.mark.parametrize("command", [EVAL, DRIFT, RUN_EVAL], ids=["eval", "drift", "run_eval"])
def test_every_option_of_several_words_has_both_spellings(command, monkeypatch):
    seen = []
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", lambda self, argv: seen.append(self))
    parse, required = command
    with contextlib.suppress(AttributeError):  # there are no arguments to look at
        parse(required)
    options = [action.option_strings for action in seen[0]._actions]
    several = [names for names in options if any(re.search("[a-z][_-]", n) for n in names)]
    assert len(several) > 5
    for names in several:
        assert set(names) == set(cli.spellings(names[0]))


def _room(option):
    """So many new tokens that 17 of them may be asked for."""
    return ["--min_new_tokens", "1"] if option == "max_new_tokens" else []


@pytest.mark.parametrize("command", [EVAL, DRIFT, RUN_EVAL], ids=["eval", "drift", "run_eval"])
def test_every_command_knows_where_to_run_and_what_to_build(command):
    parse, required = command
    args = parse([*required, "--backend", "emulated", "--arithmetic", "rounded"])
    assert (args.backend, args.arithmetic) == ("emulated", "rounded")
    positions = None if command is DRIFT else 256  # drift builds for two numbers
    assert (args.max_seq_len, args.device_id, args.cache_dir) == (positions, 0, None)
    assert (args.prompt, args.prompt_file, args.prompt_ids_file) == (None, None, None)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "", "many"])
def test_a_count_is_at_least_one(text):
    with pytest.raises(argparse.ArgumentTypeError, match="whole number of at least 1"):
        cli.positive(text)


def test_a_refusal_is_one_line(capsys):
    assert cli.refuse(ValueError("first\n  second")) == cli.WRONG_USE
    assert capsys.readouterr().err == "error: first second.\n"


@pytest.mark.parametrize("command", [EVAL, DRIFT, RUN_EVAL], ids=["eval", "drift", "run_eval"])
def test_an_unknown_option_is_named_even_where_others_are_missing(command, capsys):
    parse, _ = command
    with pytest.raises(SystemExit) as exit:
        parse(["--nope=1"])
    assert exit.value.code == cli.WRONG_USE
    err = capsys.readouterr().err
    assert "unrecognized arguments: --nope; " in err
    assert "required" in err
    with pytest.raises(SystemExit):
        parse([])
    assert "unrecognized" not in capsys.readouterr().err


BOUNDS = {"min_top1": "0.9", "min_top5": "1", "min_pcc": "-0.5", "max_kl": "2.5"}


def test_bounds_are_set_by_options_of_eval():
    parse, required = EVAL
    assert cli.bounds(parse(required)) == {}
    for dash in ("_", "-"):
        options = [f"--{name.replace('_', dash)}={value}" for name, value in BOUNDS.items()]
        args = parse([*required, *options])
        assert cli.bounds(args) == {"top1": 0.9, "top5": 1, "pcc": -0.5, "kl": 2.5}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *((name, text) for name in BOUNDS for text in ("nan", "inf", "-inf", "much", "", "90%")),
        *((name, text) for name in ("min_top1", "min_top5") for text in ("95", "1.01", "-0.1")),
        *(("min_pcc", text) for text in ("1.01", "-1.01", "99")),
        ("max_kl", "-0.001"),
    ],
)
def test_a_bound_that_nothing_can_be_held_to_is_refused(name, text, capsys):
    parse, required = EVAL
    with pytest.raises(SystemExit) as exit:
        parse([*required, f"--{name}={text}"])
    assert exit.value.code == cli.WRONG_USE
    line = capsys.readouterr().err
    assert re.fullmatch(rf"error: argument --{name}.*: '{re.escape(text)}' is not a .*\.\n", line)


def test_a_missed_bound_is_a_line_and_the_status_1(capsys):
    assert cli.judged([]) == cli.FINE
    assert capsys.readouterr().err == ""
    assert cli.judged(["top-1 is low", "PCC is low"]) == cli.SO
    assert capsys.readouterr().err == "failed: top-1 is low.\nfailed: PCC is low.\n"
