"""What model files are given: configurations, and what is said of their errors."""

import argparse

import pytest
import torch
import transformers

from tests.support.checkpoint import CHECKPOINT
from ttnn_verify import jobs, prompt_ids
from ttnn_verify.huggingface import inputs


def test_a_configuration_has_the_older_names_too():
    llama = inputs.with_older_names(transformers.LlamaConfig(rope_theta=5e5))
    assert llama.rope_theta == 5e5
    gemma = inputs.with_older_names(transformers.Gemma3TextConfig())
    assert (gemma.rope_theta, gemma.rope_local_base_freq) == (1e6, 1e4)


def test_an_error_is_told_with_the_line_of_its_author():
    says = r"a model fails: KeyError: 'x' \(.*test_inputs\.py:\d+\)"
    with pytest.raises(inputs.ModelFails, match=says), jobs.model_runs("a model"):
        {}["x"]


def test_refusals_of_the_tools_stay_what_they_are():
    with pytest.raises(inputs.BadInput), jobs.model_runs("a model"):
        raise inputs.BadInput("no")


TEXT = torch.arange(10, 20)[None]


def test_stretches_of_a_text_lie_at_equal_distances_and_go_round():
    rows = prompt_ids.stretches(TEXT, 6, 2)
    assert rows.tolist() == [[10, 11, 12, 13, 14, 15], [15, 16, 17, 18, 19, 10]]


def test_special_tokens_begin_every_stretch():
    rows = prompt_ids.stretches(TEXT, 4, 3, begin=1)
    assert rows.tolist() == [[10, 11, 12, 13], [10, 14, 15, 16], [10, 17, 18, 19]]


def test_equal_prompts_are_no_batch():
    prompt_ids.check_different(prompt_ids.stretches(TEXT, 12, 10))
    with pytest.raises(inputs.BadInput, match="no 11 different stretches of 12 tokens"):
        prompt_ids.check_different(prompt_ids.stretches(TEXT, 12, 11))


@pytest.fixture
def untokenized(tmp_path):
    """A folder with a configuration alone, and no tokenizer."""
    transformers.LlamaConfig(vocab_size=64, bos_token_id=1, eos_token_id=2).save_pretrained(
        tmp_path
    )
    return inputs.find_checkpoint(str(tmp_path))


NOTHING_GIVEN = argparse.Namespace(
    prompt=None, prompt_file=None, prompt_ids_file=None, max_seq_len=64
)


def test_without_a_tokenizer_the_prompt_is_random_ids(untokenized, capsys):
    first, again = (jobs.find_prompt(NOTHING_GIVEN, untokenized, 36).ids for _ in range(2))
    assert first.shape == (1, 36)
    assert torch.equal(first, again)
    assert not set(first[0].tolist()) & {1, 2}
    err = capsys.readouterr().err
    assert err.startswith("note: no tokenizer")
    assert "the prompt is random ids" in err
    assert "empty" not in err


def test_a_tokenizer_that_makes_no_token_of_a_text_is_none():
    """As one that transformers makes up for a checkpoint without."""

    class MadeUp:
        input_ids = ()

    with pytest.raises(inputs.BadInput, match=r"^no tokenizer: .* token ids needs none"):
        prompt_ids.encode("In the beginning", lambda text: MadeUp)
    with pytest.raises(inputs.BadInput, match="'  ' is empty"):
        prompt_ids.encode("  ", lambda text: MadeUp)


def test_with_one_it_is_held_out_text_however_long(capsys):
    checkpoint = inputs.find_checkpoint(str(CHECKPOINT))
    text = prompt_ids.encode(prompt_ids.heldout_text(), checkpoint.tokenizer())
    longer = text.shape[1] + 5
    given = argparse.Namespace(**vars(NOTHING_GIVEN) | {"max_seq_len": longer})
    ids = jobs.find_prompt(given, checkpoint, longer).ids
    assert torch.equal(ids, torch.cat((text, text[:, :5]), 1))
    assert not capsys.readouterr().err
