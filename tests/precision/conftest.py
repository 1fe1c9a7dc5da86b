"""The searches of models run on the emulated device."""

import pytest
import torch

from tests.support.checkpoint import CHECKPOINT
from ttnn_verify import drift, jobs
from ttnn_verify.drift import reuse
from ttnn_verify.huggingface import inputs


@pytest.fixture(scope="session")
def session():
    """Of drift, that knows what earlier tests have computed."""
    with reuse.opened() as kept:
        yield drift.Session(kept=kept)


@pytest.fixture(scope="session")
def tiny():
    """The trained checkpoint in float32, with ids that its prompts begin with."""
    checkpoint = inputs.find_checkpoint(str(CHECKPOINT), None)
    hf_model = checkpoint.hf_model(torch.float32)
    hf_model.set_attn_implementation("eager")
    return hf_model, jobs.default_text(checkpoint, checkpoint.config()).ids
