"""The trained checkpoint, its prompt and what Hugging Face computes from them; `--quick`."""

import pytest
import torch
import transformers

from tests.bad_input import tally
from tests.support import quick
from tests.support.checkpoint import CACHE_LENGTH, CHECKPOINT, PROMPT, STAGES
from tests.support.hf_reference import HfReference
from ttnn_verify.huggingface import golden


def pytest_addoption(parser):
    parser.addoption("--quick", action="store_true", help="a small part of every tier, in a minute")
    parser.addoption(
        "--draws",
        type=int,
        default=1,
        help="how many weights and prompts the models without a fault have that drift must not "
        "accuse, those of `-m healthy`; default 1",
    )


def pytest_generate_tests(metafunc):
    if "draw" in metafunc.fixturenames:
        draws = range(metafunc.config.getoption("--draws"))
        metafunc.parametrize("draw", draws, ids=lambda number: f"draw{number}")


def pytest_configure(config):
    config.addinivalue_line("markers", "healthy: a right model, which drift must not accuse")


def pytest_ignore_collect(collection_path, config):
    leave_out = config.getoption("--quick") and quick.is_left_out(collection_path)
    return True if leave_out else None  # None: pytest's own rules decide


def pytest_terminal_summary(terminalreporter):
    line = tally.line(terminalreporter)
    if line:
        terminalreporter.line(line)


def pytest_collection_modifyitems(config, items):
    if config.getoption("--quick"):
        some = set(quick.chosen(items))
        config.hook.pytest_deselected(items=[item for item in items if item not in some])
        items[:] = [item for item in items if item in some]


@pytest.fixture(scope="session", params=STAGES)
def stage(request):
    """A stage of the bring-up: a test that asks for it, or for what is built of it, has both."""
    return request.param


@pytest.fixture(scope="session")
def hf_model():
    """The checkpoint in Hugging Face, float32: the reference of every tier above the ops."""
    return transformers.AutoModelForCausalLM.from_pretrained(
        CHECKPOINT, dtype=torch.float32, attn_implementation="eager"
    ).eval()


@pytest.fixture(scope="session")
def weights(hf_model):
    """The checkpoint's, by Hugging Face's names."""
    return hf_model.state_dict()


@pytest.fixture(scope="session")
def tokenizer():
    return transformers.AutoTokenizer.from_pretrained(CHECKPOINT)


@pytest.fixture(scope="session")
def prompt_ids(tokenizer):
    """[1, S] int64: held-out text, at least 150 tokens."""
    return tokenizer(PROMPT.read_text(), return_tensors="pt").input_ids


@pytest.fixture(scope="session")
def long_ids(prompt_ids):
    """[1, 256] int64: text as long as the cache."""
    return prompt_ids.repeat(1, -(-CACHE_LENGTH // prompt_ids.shape[1]))[:, :CACHE_LENGTH]


@pytest.fixture(scope="session")
def hf_reference(stage, hf_model, long_ids):
    """What Hugging Face computes of the long text, exactly and with the stage's roundings."""
    by_default = stage == "functional"  # its products and norms have no compute config
    return HfReference(hf_model, golden.load(hf_model, long_ids), by_default)
