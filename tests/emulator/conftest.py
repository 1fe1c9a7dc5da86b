"""Tests of the emulation itself: they say nothing about a card or the vendor's simulator."""

import pathlib

import pytest

import ttnn_emulator
from tests.support.emulated import deselect_elsewhere


def pytest_collection_modifyitems(config, items):
    deselect_elsewhere(pathlib.Path(__file__).parent, config, items)


@pytest.fixture
def device(device):
    """The device with rounded arithmetic, in which an operation's result can be checked exactly.

    test_replay.py checks the kernels' own results.
    """
    with ttnn_emulator.arithmetic_settings("rounded"):
        yield device


@pytest.fixture
def kernel_device(device):
    """The device with the kernels' own arithmetic."""
    with ttnn_emulator.arithmetic_settings("kernel"):
        yield device
