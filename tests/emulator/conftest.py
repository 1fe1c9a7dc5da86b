"""Tests of the emulation itself: they say nothing about a card or the vendor's simulator."""

import pathlib

from verify.plugin import BACKEND

HERE = pathlib.Path(__file__).parent


def pytest_collection_modifyitems(config, items):
    if config.stash[BACKEND] == "emulated":
        return
    others = [item for item in items if HERE not in item.path.parents]
    config.hook.pytest_deselected(items=[item for item in items if HERE in item.path.parents])
    items[:] = others
