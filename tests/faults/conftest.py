"""What the checks of the tiers are given: all that is on the device is built anew in each test."""

import functools
import pathlib

import pytest

import ttnn_emulator
from tests.layers.plain_parts import PARTS
from tests.support.checkpoint import model_file
from tests.support.emulated import deselect_elsewhere
from tests.support.hf_reference import HfReference
from ttnn_verify.huggingface import golden
from ttnn_verify.model_file import load_model_file

from .fault_table import pytest_terminal_summary

__all__ = ["pytest_terminal_summary"]

MAX_SEQ_LEN = 96  # room for a prompt of two tiles that is filled up, and for what follows


def pytest_collection_modifyitems(config, items):
    """Faults are made in the emulated device."""
    deselect_elsewhere(pathlib.Path(__file__).parent, config, items)


@pytest.fixture(scope="session")
def references(hf_model, long_ids):
    """by_default -> Hugging Face's values of the long text."""
    values = golden.load(hf_model, long_ids)
    return functools.cache(lambda by_default: HfReference(hf_model, values, by_default))


@pytest.fixture
def hf_reference(stage, references):
    """With the stage's roundings in the present arithmetic; "rounded" has no compute config."""
    return references(stage == "functional" and ttnn_emulator.installed_arithmetic() == "kernel")


@pytest.fixture
def parts(stage, hf_model, weights, device):
    return PARTS[stage](hf_model.config, weights, device)


@pytest.fixture
def tt_model(stage, hf_model, device):
    return load_model_file(model_file(stage)).build_model(hf_model, device, MAX_SEQ_LEN)
