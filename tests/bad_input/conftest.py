"""The tiny checkpoint, and commands that run on the tests' own device."""

import contextlib

import pytest

import ttnn_emulator
from tests.properties import profiles
from ttnn_verify import backend, network

from . import tiny_checkpoint


def pytest_configure(config):
    profiles.load_quick(config)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The folder of the right checkpoint."""
    return tiny_checkpoint.save(tmp_path_factory.mktemp("tiny") / "checkpoint")


@pytest.fixture(scope="module")
def on_the_device(device, backend_name):
    """Commands take the tests' device, and no hub is asked. Options that say which device."""

    @contextlib.contextmanager
    def open_device(name, device_id=0, arithmetic=None, system=None, mesh=None):
        with contextlib.ExitStack() as stack:
            if name == "emulated":
                stack.enter_context(ttnn_emulator.arithmetic_settings(arithmetic))
            yield device

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network.constants, "HF_HUB_OFFLINE", True)
        patch.setattr(backend, "open_device", open_device)
        rounded = ("--arithmetic", "rounded") if backend_name == "emulated" else ()
        yield ("--backend", backend_name, *rounded)
