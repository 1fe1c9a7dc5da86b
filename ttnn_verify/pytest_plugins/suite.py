"""The pytest plugin that every session has where this package is installed; it is nearly nothing.

`pytest --pyargs ttnn_verify.suite` has options, and pytest must know them before it looks at the
command line's other words: so the plugins of the suite are registered here, and only where the
suite is asked for. Any other session imports nothing further and has no further option.
"""

import os
import pathlib
import shlex

import pytest

PACKAGE = "ttnn_verify.suite"
FOLDER = pathlib.Path(__file__).parents[1] / "suite"

PLUGINS = ("ttnn_verify.pytest_plugins.tools", f"{PACKAGE}.plugin", f"{PACKAGE}.selection")


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    config = pluginmanager.get_plugin("pytestconfig")
    if isinstance(config, pytest.Config) and is_requested(config):
        for name in PLUGINS:
            pluginmanager.import_plugin(name)  # nothing happens where a conftest has it already


def is_requested(config: pytest.Config) -> bool:
    """Whether the command line, PYTEST_ADDOPTS or `addopts` of an ini file name the suite."""
    words = shlex.split(os.environ.get("PYTEST_ADDOPTS", ""))
    words += [*config.getini("addopts"), *map(str, config.invocation_params.args)]
    return any(_names_suite(word, config.invocation_params.dir) for word in words)


def _names_suite(word: str, folder: pathlib.Path) -> bool:
    place = word.partition("::")[0]
    if place == PACKAGE or place.startswith(f"{PACKAGE}."):
        return True
    path = pathlib.Path(os.path.abspath(folder / place))
    return FOLDER in (path, path.parent)
