"""The variants run on the emulated device: their tolerances hold for both of its arithmetics."""

import pathlib

from tests.support.emulated import deselect_elsewhere


def pytest_collection_modifyitems(config, items):
    deselect_elsewhere(pathlib.Path(__file__).parent, config, items)
