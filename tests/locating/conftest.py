"""Faults are injected into the emulated device, so these tests run there alone."""

import pathlib

from tests.faults.conftest import emulated_alone


def pytest_collection_modifyitems(config, items):
    emulated_alone(pathlib.Path(__file__).parent, config, items)
