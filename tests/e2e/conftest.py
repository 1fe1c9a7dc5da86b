"""The bring-up, built once from the trained checkpoint, and the tolerance of its logits."""

import pytest

from tests.support.checkpoint import CACHE_LENGTH, model_file
from ttnn_verify.huggingface import module_floors
from ttnn_verify.model_file import load_model_file
from ttnn_verify.numerics import tolerance


@pytest.fixture(scope="session")
def build(stage, hf_model, device):
    """max_seq_len and options -> a model of its own, by the stage's file that `eval.py` runs."""
    build_model = load_model_file(model_file(stage)).build_model

    def built(length, hf_model=hf_model, **options):
        return build_model(hf_model, device, length, **options)

    return built


@pytest.fixture(scope="session")
def tt_model(build):
    return build(CACHE_LENGTH)


@pytest.fixture(scope="session")
def logits_limit(hf_reference):
    """The relative L2 tolerance of logits, which decides whether a choice was a near-tie."""
    noise = module_floors.measured(hf_reference["logits"], hf_reference.rounded_stack("logits"))
    return tolerance.K * noise.relative_l2
