"""Drift accuses no variant, each of which agrees with Hugging Face, and finds its twins' faults."""

import functools

import pytest
import torch

import ttnn_emulator
from tests.bringups.bringup_table import FACTORS
from ttnn_verify import drift
from ttnn_verify.huggingface import bf16_pass
from ttnn_verify.numerics import metrics

from .variant_table import CAPACITY, DECODED, ROWS, TWINS, reference


def in_each(arithmetics):
    """A test of each variant in each arithmetic."""
    return pytest.mark.parametrize(
        ("row", "arithmetic"),
        [pytest.param(row, one, id=f"{row.name}-{one}") for row in ROWS for one in arithmetics],
        indirect=["arithmetic"],
    )


@pytest.fixture
def arithmetic(request, device):
    """The device computes by it."""
    with ttnn_emulator.arithmetic_settings(request.param):
        yield request.param


@pytest.fixture(scope="module")
def model(device):
    """(build, config) and a seed -> the model; that of the first seed is built once."""

    def of(build, config, seed=0):
        return build(reference(config, seed), device, CAPACITY)

    first = functools.cache(of)
    return lambda *what, seed=0: of(*what, seed) if seed else first(*what)


@torch.no_grad()
def logits_of(model, hf_model, ids, prompt):
    """(expected, actual) logits [S, V]: of a prompt's rows that are returned and of the tokens.

    Hugging Face computes each call with the tokens that are known then.
    """
    expected, actual, past = [], [], None
    starts = [0, *range(prompt, ids.shape[1])]
    for start, end in zip(starts, [*starts[1:], ids.shape[1]], strict=True):
        out = model(input_ids=ids[:, start:end], past_key_values=past)
        past, rows = out.past_key_values, out.logits[0].double()
        assert len(rows) in (1, end - start)
        actual.append(rows)
        expected.append(hf_model(ids[:, :end], use_cache=False).logits[0, -len(rows) :].double())
    return torch.cat(expected), torch.cat(actual)


@in_each(FACTORS)
def test_a_variant_agrees(row, arithmetic, model):
    hf, ids = reference(row.config), row.ids()
    expected, actual = logits_of(model(row.build, row.config), hf, ids, row.prompt)
    yardstick, factor = bf16_pass.of_logits(hf, ids), FACTORS[arithmetic]
    worst = metrics.worst_row(expected, actual).value
    assert worst <= factor * yardstick.worst_row + row.block_formats
    error = metrics.relative_l2(expected, actual)
    assert error <= factor * yardstick.relative_l2 + row.block_formats


@pytest.mark.healthy
@in_each(FACTORS)
def test_no_operation_of_a_variant_is_accused(row, arithmetic, draw, model):
    variant = model(row.build, row.config, seed=draw)
    finding = drift.locate(variant, reference(row.config, draw), row.ids(draw), DECODED)
    assert finding is None, finding.line


@in_each(["rounded"])
def test_the_verdict_on_a_variant_is_no_drift(row, arithmetic, model):
    variant = model(row.build, row.config)
    result = drift.measure(variant, reference(row.config), row.ids(), DECODED)
    assert result.status == 0, result.line


@pytest.mark.parametrize("arithmetic", ["kernel"], indirect=True)
def test_the_verdict_in_kernel_arithmetic_is_no_drift(arithmetic, model):
    plain = ROWS[0]
    variant = model(plain.build, plain.config)
    result = drift.measure(variant, reference(plain.config), plain.ids(), DECODED)
    assert result.status == 0, result.line


@pytest.mark.parametrize("arithmetic", ["rounded"], indirect=True)
@pytest.mark.parametrize(
    ("row", "twin"), [pytest.param(*pair, id=f"{pair[1].name}-{pair[0].name}") for pair in TWINS]
)
def test_the_fault_of_a_twin_is_located(row, twin, arithmetic, model):
    faulty = model(twin.build, row.config)
    finding = drift.locate(faulty, reference(row.config), row.ids(), DECODED)
    assert finding is not None, "nothing is found"
    assert (finding.layer, finding.part) == (twin.layer, twin.part), finding.line
    assert finding.operation.rpartition(".")[2] in twin.operations, finding.line
