"""An emulated T3000: of its eight chips, meshes of any shape. A process emulates one system."""

import contextlib

import pytest

import ttnn_emulator
from tests.properties import profiles

SYSTEM = "t3000"


def pytest_configure(config):
    profiles.load_quick(config)


@pytest.fixture(scope="session")
def opened():
    """Open a mesh of (rows, columns), in a `with` block."""

    @contextlib.contextmanager
    def opened(shape, arithmetic="rounded", **options):
        try:
            with ttnn_emulator.open_mesh_device(
                shape, system=SYSTEM, arithmetic=arithmetic, **options
            ) as mesh:
                yield mesh
        except ttnn_emulator.OtherSystem as error:
            pytest.skip(str(error))

    return opened


@pytest.fixture(params=[(1, 2), (1, 8), (2, 4)], ids=lambda shape: "x".join(map(str, shape)))
def mesh(request, opened):
    with opened(request.param) as mesh:
        yield mesh
