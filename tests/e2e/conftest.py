"""The bring-up, built once from the trained checkpoint."""

import pytest

from verify import tolerance
from verify.inputs import load_model_file

from ..conftest import ASSETS

MODEL_FILE = ASSETS.parent / "models/microsoft/Phi-3-mini-128k-instruct/n150/functional/model.py"
MAX_SEQ_LEN = 256


@pytest.fixture(scope="session")
def tt_model(hf_model, device):
    """The model file that `eval.py` runs, from the float32 copy of the checkpoint."""
    return load_model_file(MODEL_FILE).build_model(hf_model, device, MAX_SEQ_LEN)


@pytest.fixture(scope="session")
def logits_limit(hf_model):
    return tolerance.logits_relative_l2(hf_model.config.num_hidden_layers)
