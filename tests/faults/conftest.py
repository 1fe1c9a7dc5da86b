"""What the checks of the tiers are given: all that is on the device is built anew in each test."""

import pathlib

import pytest

from model import build_model
from tests.layers.conftest import weights
from tests.layers.parts import Parts
from ttnn_verify.pytest_plugins.device import BACKEND

from .summary import pytest_terminal_summary

__all__ = ["pytest_terminal_summary", "weights"]

MAX_SEQ_LEN = 96  # room for a prompt of two tiles that is filled up, and for what follows


def pytest_collection_modifyitems(config, items):
    emulated_alone(pathlib.Path(__file__).parent, config, items)


def emulated_alone(folder, config, items):
    """Deselect a folder's tests elsewhere: faults are made in the emulated device."""
    if config.stash[BACKEND] == "emulated":
        return
    config.hook.pytest_deselected(items=[item for item in items if folder in item.path.parents])
    items[:] = [item for item in items if folder not in item.path.parents]


@pytest.fixture
def parts(hf_model, weights, device):
    return Parts(hf_model.config, weights, device)


@pytest.fixture
def tt_model(hf_model, device):
    return build_model(hf_model, device, MAX_SEQ_LEN)
