"""Tests of the emulation itself: they say nothing about a card or the vendor's simulator."""

import pathlib

import pytest

import ttnn_emulator
from ttnn_verify.pytest_plugins.device import BACKEND

HERE = pathlib.Path(__file__).parent


def pytest_collection_modifyitems(config, items):
    if config.stash[BACKEND] == "emulated":
        return
    others = [item for item in items if HERE not in item.path.parents]
    config.hook.pytest_deselected(items=[item for item in items if HERE in item.path.parents])
    items[:] = others


@pytest.fixture
def device(device):
    """The device with rounded arithmetic, in which what an operation means can be told exactly.

    What the kernels make of it is the subject of test_replay.py.
    """
    with ttnn_emulator.arithmetic_settings("rounded"):
        yield device
