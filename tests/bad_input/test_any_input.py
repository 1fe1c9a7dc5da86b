"""Whatever a command is given, it ends with a status of its own and one sentence.

The examples are drawn by `bad_files` and `bad_words`: not two hundred in `make test`, always the
same ones; `--hypothesis-profile=thorough` draws others each time, some 1,500. The end of a run
prints how many there were, and how they ended.
"""

import itertools
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scripts import run_eval
from tests.support.checkpoint import model_file
from ttnn_verify import eval_command
from ttnn_verify.baseline import __main__ as baseline_command
from ttnn_verify.drift import __main__ as drift_command

from . import bad_files, bad_words, commands, tally, tiny_checkpoint

TINY = "--model={folder}/checkpoint"
FUNCTIONAL = str(model_file("functional"))  # of Phi-3; it refuses what it was not written for
SHORT = ("--max_seq_len=32", "--max_new_tokens=2")
SIZES = ("--max-seq-len=32", "--prefill-len=5", "--decode-len=2")
DRIFT = ("--no_reuse", "--prompt_tokens=6", "--decoded=2")

# Name -> the command, and its arguments before those of the example.
COMMANDS = {
    "eval": (eval_command.main, ("{folder}/model.py", TINY, *SHORT)),
    "functional": (eval_command.main, (FUNCTIONAL, TINY, *SHORT)),
    "drift": (
        drift_command.main,
        ("{folder}/model.py", TINY, *DRIFT, "--first", "--max_seq_len=32"),
    ),
    "frugal": (drift_command.main, (FUNCTIONAL, TINY, *DRIFT, "--frugal")),
    "run_eval": (
        run_eval.main,
        ("--mode=hf", "--hf-model=tiny", "--model-path={folder}/checkpoint", *SIZES),
    ),
}
EVERY = tuple(COMMANDS)
OF_A_MODEL_FILE = ("eval", "drift")  # that the example may replace
WITHOUT_PROMPT = ("run_eval",)


def many(times):
    """So many times the examples of the profile: most cost a tenth of a second."""
    return settings(
        max_examples=times * settings.default.max_examples,
        # what is captured is read after each example, and every example has a folder of its own
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture
def ended(record_property):
    """Exit status -> number of a test's examples, for `tally`."""
    # no Counter: execnet, by which workers of xdist report, sends built-in types alone
    counts = dict.fromkeys(("0", "1", "2", "125"), 0)
    record_property(tally.PROPERTY, counts)
    return counts


@pytest.fixture
def ends_well(tiny, on_the_device, capfd, tmp_path, ended):
    """Draw an example and run a command on it: it ends with a status and, at need, a sentence."""
    numbers = itertools.count()

    def check(data, strategy, names):
        name = data.draw(st.sampled_from(names), label="command")
        example = data.draw(strategy, label="example")
        folder = tmp_path / str(next(numbers))
        commands.place(folder, tiny, example, tiny_checkpoint.MODEL_PY)
        main, arguments = COMMANDS[name]
        prompted = any(option.startswith("--prompt") for option in example.options)
        if not prompted and name not in WITHOUT_PROMPT:
            arguments += (f"--prompt={tiny_checkpoint.PROMPT}",)
        words = (*arguments, *on_the_device, *example.options)
        result = commands.run(main, [w.replace("{folder}", str(folder)) for w in words], capfd)
        shutil.rmtree(folder)
        assert commands.wrong(result) == []
        ended[str(result.status)] += 1

    return check


@many(6)
@given(st.data())
def test_any_configuration(ends_well, tiny, data):
    ends_well(data, bad_files.configurations((tiny / "config.json").read_bytes()), EVERY)


@many(3)
@given(st.data())
def test_any_weights(ends_well, tiny, data):
    ends_well(data, bad_files.weights((tiny / "model.safetensors").read_bytes()), EVERY)


@many(2)
@given(st.data())
def test_any_tokenizer(ends_well, tiny, data):
    strategy = bad_files.tokenizers((tiny / "tokenizer.json").read_bytes())
    ends_well(data, strategy, OF_A_MODEL_FILE)


@many(2)
@given(st.data())
def test_any_ids(ends_well, data):
    ends_well(data, bad_words.prompt_ids(), OF_A_MODEL_FILE)


@many(5)
@given(st.data())
def test_any_model_file(ends_well, data):
    ends_well(data, bad_words.model_files(), OF_A_MODEL_FILE)


NUMBERS = {
    "eval": ("seed", "batch", "max_new_tokens", "max_seq_len", "device_id", "min_top1", "max_kl"),
    "drift": ("decoded", "prompt_tokens", "max_seq_len", "device_id"),
    "run_eval": ("prefill-len", "decode-len", "max-seq-len", "batch", "trace"),
}


@pytest.mark.parametrize("name", NUMBERS)
@many(1)
@given(st.data())
def test_any_number(ends_well, name, data):
    ends_well(data, bad_words.numbers(NUMBERS[name]), (name,))


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """A baseline of two cases, one of them relaxed."""
    text = """{
"platform": {"backend": "emulated", "arithmetic": "kernel", "ttnn": "0"},
"cases": {
"a": {"pcc": 0.99, "relative_l2": 0.1, "worst_row": 0.2, "ulp": 3.0, "used": 0.5},
"b": {"pcc": 0.98, "relative_l2": 0.2, "used": 0.5}
},
"relaxed": {"a": {"reason": "known", "until": "2999-01-01", "pcc": 0.9}}
}"""
    path = tmp_path_factory.mktemp("figures") / "right.json"
    path.write_text(text)
    return path


@many(10)
@given(st.data())
def test_any_baseline(figures, capfd, tmp_path, ended, data):
    other = tmp_path / "other"
    contents = data.draw(bad_files.baselines(figures.read_bytes()), label="baseline")
    shutil.rmtree(other, ignore_errors=True)
    commands.put(other, contents)
    slack = data.draw(bad_words.numbers(("pcc-slack", "pcc-error-slack")) | st.none())
    options = () if slack is None or data.draw(st.booleans()) else slack.options
    files = data.draw(st.permutations((figures, other)), label="order")
    result = commands.run(baseline_command.main, ("diff", *files, *options), capfd)
    if other.is_dir():
        other.rmdir()
    assert commands.wrong(result) == []
    ended[str(result.status)] += 1
