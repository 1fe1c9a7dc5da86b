"""Faults are injected into the emulated device, so these tests run there alone."""

import pathlib

from tests.support.emulated import deselect_elsewhere


def pytest_collection_modifyitems(config, items):
    deselect_elsewhere(pathlib.Path(__file__).parent, config, items)
