"""Drift names the kernel that is wrong in models of other architectures, written otherwise."""

import functools

import pytest
import torch
import ttnn

import ttnn_emulator
from tests.bringups.bringup_table import ROWS, hf_model
from tests.faults.catalogue import FAULTS
from tests.ops.table import OPS
from ttnn_verify import drift
from ttnn_verify.drift.observation import taps, walk
from ttnn_verify.ops import table

from .places import DECODED, located, logits

PROMPT, CAPACITY = 33, 64

# of a kernel: whatever model calls it, calls a wrong one
KERNELS = [fault for fault in FAULTS if fault.tier == "ops" and fault.stage is None]

# (row, fault) -> why drift does not see it though it changes the logits
UNSEEN = {("phi3", "epsilon-outside-the-root"): "within what a norm by TTNN's defaults may err"}


@functools.cache
def reference(row, seed=0):
    return hf_model(row, seed)


@functools.cache
def ids_of(row, seed=0):
    generator = torch.Generator().manual_seed(1 + seed)
    return torch.randint(3, row.config().vocab_size, (1, PROMPT + DECODED), generator=generator)


@pytest.fixture(scope="module")
def builds(device):
    """row -> what makes its model."""
    return lambda row, seed=0: (
        lambda: row.load().build_model(reference(row, seed), device, CAPACITY)
    )


@pytest.fixture(scope="module")
def called(builds):
    """row -> short names of the operations that its model calls."""

    @functools.cache
    def of(row):
        names = set()

        def note(call, run):
            names.add(table.short_name(call.name))
            return run()

        with taps.intercept(note):
            walk.lead(builds(row)(), walk.sequences(ids_of(row), DECODED))
        return names

    return of


@pytest.fixture(scope="module")
def healthy(builds):
    @functools.cache
    def of(row, arithmetic):
        with ttnn_emulator.arithmetic_settings(arithmetic):
            return logits(builds(row)(), ids_of(row))

    return of


@pytest.mark.parametrize("fault", KERNELS, ids=lambda fault: fault.id)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_drift_names_the_kernel(row, fault, builds, called, healthy, record_property):
    if not called(row) & {OPS[name].operation for name in fault.ops}:
        pytest.skip("it does not call the operation")
    of_row = functools.partial(healthy, row)
    accurate = False if row.block_formats else None  # which are what it declares
    result = located(fault, builds(row), reference(row), ids_of(row), of_row, accurate)
    if result.idle:
        pytest.skip(result.idle)
    if result.finding is None and result.harmless:
        pytest.skip("the logits are as near to Hugging Face's as without it")
    if (row.name, fault.id) in UNSEEN:
        assert result.finding is None
        return
    line = result.finding.line if result.finding else "nothing"
    record_property("located", line)
    assert result.right, f"{fault.name}: {line}"


@pytest.mark.healthy
@pytest.mark.parametrize("arithmetic", ["rounded", "kernel"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_none_is_named_in_a_healthy_one(row, arithmetic, draw, builds):
    with ttnn_emulator.arithmetic_settings(arithmetic):
        model = builds(row, draw)()
        result = drift.measure(model, reference(row, draw), ids_of(row, draw), DECODED)
    assert result.status == 0, result.line


def test_declared_low_precision_is_named_and_not_accused(builds):
    """The MLP of this Llama multiplies in LoFi."""
    (row,) = (row for row in ROWS if row.name == "llama")
    with ttnn_emulator.arithmetic_settings("kernel"):
        result = drift.measure(builds(row)(), reference(row), ids_of(row), DECODED)
    assert result.status == 0, result.line
    assert {low.part for low in result.low_precision} == {"MLP"}
    assert all(low.declared == "LoFi, 16-bit sums" for low in result.low_precision)


def test_a_wrong_scale_in_decode_is_no_lost_key(builds, monkeypatch):
    """What attention finds in its caches is not missing from what it is given."""
    (row,) = (row for row in ROWS if row.name == "qwen3")
    attention = ttnn.transformer.scaled_dot_product_attention_decode

    def faulty(*args, scale, **kwargs):
        return attention(*args, scale=scale / 2, **kwargs)

    monkeypatch.setattr(ttnn.transformer, "scaled_dot_product_attention_decode", faulty)
    with ttnn_emulator.arithmetic_settings("rounded"):
        result = drift.measure(builds(row)(), reference(row), ids_of(row), DECODED)
    assert "scaled_dot_product_attention_decode (attention)" in result.line
    scale = reference(row).config.head_dim ** -0.5
    assert f"its scale is {scale / 2:.6g} where Hugging Face's is {scale:.6g}" in result.line
