"""Far positions: what is wrong only there is found, and what is right is not walked."""

import pytest
import torch

import ttnn_emulator
from model.optimized import build_model
from tests.faults.attention_faults import CHUNKED
from tests.faults.catalogue import FAULTS
from tests.faults.inject import argument, calls, host, ints
from ttnn_verify import drift
from ttnn_verify.drift import stretches
from ttnn_verify.drift.expected_values import ExpectedValues
from ttnn_verify.drift.stretches import Errors

TOKENS = torch.arange(36)[None]
DECODING = "decoding to position 34", "decoding to position 69"


def labels(positions, boundary=None):
    return [one.label for one in stretches.sequences(TOKENS, positions, boundary)]


def test_what_is_run_depends_on_the_positions_that_there_are():
    assert labels(40) == ["decoding to position 34", "to position 39"]
    assert labels(34) == []
    assert labels(256, 256) == [*DECODING, "to position 255"]
    assert "across position 256" in labels(258, 256)


@pytest.mark.parametrize("positions", [40, 256, 1152])
def test_a_stretch_has_as_many_tokens_as_are_given(positions):
    for sequence in stretches.sequences(TOKENS, positions, 100):
        (tokens,) = sequence.rows
        assert len(tokens) == sum(count for (count,) in sequence.counts) <= positions


def test_errors_that_are_not_numbers_exceed_all():
    usual = Errors(0.1, 0.2)
    assert not usual.exceed(usual)
    assert Errors(0.1, float("nan")).exceed(usual)
    assert Errors(0.2, 0.2).exceed(usual)
    assert Errors(0.1, 0.5).exceed(usual)


@pytest.fixture(scope="module")
def ids(prompt_ids):
    return prompt_ids[:, :36]


@pytest.fixture
def further(hf_model, device, ids):
    """What is found by a model that is built for some positions, in rounded arithmetic."""

    def of(positions, **options):
        with ttnn_emulator.arithmetic_settings("rounded"):
            model = build_model(hf_model, device, positions, **options)
            return drift.further(model, hf_model, ids, positions=positions, first=True)

    return of


def test_what_is_right_is_run_and_not_walked(further):
    found = further(320)
    assert found.findings == ()
    assert found.ran == (*DECODING, "across position 256", "to position 319")
    assert list(found.left_out) == ["two rows"]


def test_two_rows_are_walked_where_the_model_has_them(further):
    found = further(96, batch=2)
    assert "two rows" in found.ran
    assert found.first is None


def test_rotary_factors_that_are_wrong_for_long_sequences_are_found(further):
    (fault,) = (fault for fault in FAULTS if fault.id == "short-factors-for-long")
    with fault.inject():
        first = further(320).first
    assert (first.layer, first.value) == (0, "q")
    assert "across position 256" in str(first.model_call)


def test_a_second_chunk_that_takes_itself_for_the_first_is_found(further):
    def from_zero(start):
        return None if start is None else ints(0 * host(start), start.device())

    with calls(f"transformer.{CHUNKED}", argument("chunk_start_idx_tensor", from_zero))():
        first = further(1100).first
    assert (first.layer, first.value) == (0, "attention")


def test_what_follows_from_hugging_faces_cache_is_right_too(hf_model, ids):
    """Keys that were rotated by the short factors, where a pass over all has the long ones."""
    reference = ExpectedValues(hf_model)
    usual, _, across = stretches.sequences(ids, 258, reference.boundary)[:3]
    hf_model.config.use_cache = True
    found = stretches.run(hf_model, reference, usual, [across])
    assert found.ran == ("across position 256",)
    assert found.findings == ()
