"""The hypothesis profile of these tests, and a device that failing examples leave as it was."""

import functools
import traceback

import pytest

from ttnn_verify.pytest_plugins.device import ARITHMETIC

from . import profiles


def pytest_configure(config):
    profiles.load_quick(config)


@pytest.fixture(scope="session")
def kernels(pytestconfig):
    """For a test of what kernels do with tiles that an emulation in torch's arithmetic skips."""
    if pytestconfig.stash[ARITHMETIC] == "rounded":
        pytest.skip("rounded arithmetic is not the kernels': it leaves padding out of its sums.")


def pytest_itemcollected(item):
    test = getattr(getattr(item, "obj", None), "hypothesis", None)
    if test is not None and not hasattr(test.inner_test, "frees_tensors"):
        test.inner_test = freeing_tensors(test.inner_test)


def freeing_tensors(test):
    """A test whose failures do not keep tensors on the device.

    hypothesis keeps the error of every failing example while it looks for a smaller one, an error
    keeps its frames, and those their variables: the device's L1 would soon be full.
    """

    @functools.wraps(test)
    def run(*args, **kwargs):
        try:
            test(*args, **kwargs)
        except Exception as error:
            traceback.clear_frames(error.__traceback__)
            raise

    run.frees_tensors = True
    return run
