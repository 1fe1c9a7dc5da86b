"""Each bring-up agrees with the Hugging Face model that it was built from.

The yardstick is the error that Hugging Face's own pass in bfloat16 makes of the same logits.
"""

import copy
import functools

import pytest
import torch

import ttnn_emulator
from tests.bringups.bringup_table import FACTORS, ROWS, hf_model
from ttnn_verify.huggingface import accuracy, bf16_pass, verdict
from ttnn_verify.numerics import metrics

CAPACITY = 96  # positions that the models are built for
NEW = 4  # tokens that are decoded after each prompt

every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


@pytest.fixture(params=FACTORS)
def arithmetic(request, device):
    """The device computes by it."""
    with ttnn_emulator.arithmetic_settings(request.param):
        yield request.param


@functools.cache
def reference(row):
    return hf_model(row)


@pytest.fixture(scope="module")
def bringup(device):
    """row -> its model, built once: each test but the first begins another sequence on it."""
    return functools.cache(lambda row: row.load().build_model(reference(row), device, CAPACITY))


def random_ids(row, length, seed):
    """[1, length]; the ids of special tokens do not occur."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, row.config().vocab_size, (1, length), generator=generator)


def run(model, ids, prompt):
    """Logits [rows, V] of ids [1, S], of which `prompt` are the prompt; the last row is S - 1."""
    out = model(input_ids=ids[:, :prompt])
    assert out.logits.shape[1] in (1, prompt)
    rows = [out.logits[0]]
    for step in range(prompt, ids.shape[1]):
        out = model(input_ids=ids[:, step : step + 1], past_key_values=out.past_key_values)
        assert out.logits.shape[:2] == (1, 1)
        rows.append(out.logits[0])
    return torch.cat(rows).double()


@torch.no_grad()
def check(row, arithmetic, ids, actual):
    """`actual` [rows, V] are the last logits of ids [1, S]: all of them, and the worst row."""
    hf = reference(row)
    expected = hf(ids, use_cache=False).logits[0, -len(actual) :].double()
    yardstick, factor = bf16_pass.of_logits(hf, ids), FACTORS[arithmetic]
    allowance = row.fidelity if arithmetic == "kernel" else row.block_formats
    worst = metrics.worst_row(expected, actual).value
    assert worst <= factor * yardstick.worst_row + allowance
    if len(actual) == len(ids[0]):
        error = metrics.relative_l2(expected, actual)
        assert error <= factor * yardstick.relative_l2 + allowance


@pytest.mark.parametrize("prompt", [1, 31, 33, 70])
@every_row
def test_a_prompt_and_the_tokens_after_it_agree(row, prompt, arithmetic, bringup):
    ids = random_ids(row, prompt + NEW, seed=prompt)
    check(row, arithmetic, ids, run(bringup(row), ids, prompt))


@every_row
def test_nothing_of_a_longer_sequence_is_left_in_the_next(row, arithmetic, bringup):
    """Bit for bit: the same prompt before and after another one."""
    ids, other = random_ids(row, 5 + NEW, seed=1), random_ids(row, 40 + NEW, seed=2)
    before = run(bringup(row), ids, 5)
    run(bringup(row), other, 40)
    assert torch.equal(run(bringup(row), ids, 5), before)


@pytest.mark.parametrize("row", [row for row in ROWS if row.rows > 1], ids=lambda row: row.name)
def test_rows_of_a_batch_agree(row, arithmetic, bringup):
    ids = torch.cat([random_ids(row, 20 + 2, seed) for seed in range(row.rows)])
    model = bringup(row)
    prompt = model(ids[:, :20])
    steps = [model(ids[:, 20:21], past_key_values=prompt.past_key_values)]
    steps.append(model(ids[:, 21:], past_key_values=steps[0].past_key_values))
    logits = torch.cat([out.logits for out in (prompt, *steps)], dim=1).double()
    for line, actual in zip(ids, logits, strict=True):
        check(row, arithmetic, line[None], actual)


def verdicts(row, arithmetic, model):
    """For each row of a batch, the sentences about the bounds that eval.py would hold it to."""
    hf = reference(row)
    prompts = [random_ids(row, 20, seed) for seed in range(row.rows)]
    texts = [accuracy.reference(hf, ids, 12) for ids in prompts]
    return [
        verdict.failures(score, verdict.bounds_of(hf, text, arithmetic))
        for text, score in zip(texts, accuracy.scores(model, texts), strict=True)
    ]


two_rows = pytest.mark.parametrize(
    "row", [row for row in ROWS if row.name in ("llama", "gemma3")], ids=lambda row: row.name
)


@two_rows
def test_the_verdict_is_that_it_passes(row, arithmetic, bringup):
    assert not any(verdicts(row, arithmetic, bringup(row)))


@two_rows
def test_the_verdict_on_another_layers_norm_is_that_it_fails(row, arithmetic, device):
    faulty = copy.deepcopy(reference(row))
    layers = faulty.model.layers
    layers[1].input_layernorm.weight = layers[0].input_layernorm.weight
    model = row.load().build_model(faulty, device, CAPACITY)
    assert all(verdicts(row, arithmetic, model))


def test_padding_on_the_left_and_idle_rows_change_nothing(arithmetic, bringup):
    """Of the bring-up that takes both: four prompts, one of them empty, and three steps.

    The second row has no token in the second step.
    """
    (row,) = (row for row in ROWS if row.module == "batched")
    prompts = torch.tensor([[0] * (40 - n) + [1] * n for n in (40, 7, 0, 33)])
    steps = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 0, 0], [1, 1, 1]])
    mask = torch.cat((prompts, steps), dim=1)
    ids = random_ids(row, mask.numel(), seed=0).reshape(mask.shape) * mask
    logits, past = [], None
    for first, last in ((0, 40), (40, 41), (41, 42), (42, 43)):
        out = bringup(row)(ids[:, first:last], past, attention_mask=mask[:, :last])
        past = out.past_key_values
        logits.append(out.logits)
    logits = torch.cat(logits, dim=1).double()
    for line, present, actual in zip(ids, mask.bool(), logits, strict=True):
        if present.any():
            check(row, arithmetic, line[None, present], actual[present])
