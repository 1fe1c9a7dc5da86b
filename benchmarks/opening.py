"""All chips of a system, opened as bring-ups take them, and the option that names the system."""

import argparse
import contextlib
from collections.abc import Iterator

import ttnn

import ttnn_emulator
from ttnn_emulator.machine import systems


def add_system(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--system", default=systems.N150.name, choices=systems.SYSTEMS)


@contextlib.contextmanager
def on_mock(system: systems.System) -> Iterator[ttnn.MeshDevice]:
    """On TTNN's mock device, which plans and allocates and computes nothing."""
    if system.chips > 1:
        ttnn.set_fabric_config(ttnn.FabricConfig.FABRIC_1D)
    device = ttnn.open_mesh_device(ttnn.MeshShape(*system.mesh))
    try:
        yield device
    finally:
        ttnn.close_mesh_device(device)


def emulated(
    system: str, arithmetic: str = ttnn_emulator.DEFAULT_ARITHMETIC
) -> contextlib.AbstractContextManager[ttnn.MeshDevice]:
    """On the emulated system of that name."""
    mesh = systems.find(system).mesh
    return ttnn_emulator.open_mesh_device(mesh, system=system, arithmetic=arithmetic)
