"""What links the chips of a mesh, as TTNN's host code asks for it when it plans a collective.

The same questions, on the same facts, as ttnn/operations/ccl/ccl_common.cpp of TTNN 0.81.1.
"""

from typing import NamedTuple

import ttnn

from ttnn_emulator.machine.systems import System

# `get_fabric_topology` of tt_fabric: the topology of a configuration, where the caller names none.
WRAPPING = frozenset({"FABRIC_1D_RING", "FABRIC_2D_TORUS_X", "FABRIC_2D_TORUS_Y"})
WRAPPING |= {"FABRIC_2D_TORUS_XY"}

RINGS = (ttnn.Topology.Ring, ttnn.Topology.Torus)


class Fabric(NamedTuple):
    """The links of an open mesh.

    Attributes:
        config: the name of the ttnn.FabricConfig.
        mesh: (rows, columns).
        closed: of each axis, whether its last chip is linked to its first, on every line.
    """

    config: str
    mesh: tuple[int, int]
    closed: tuple[bool, bool]

    @property
    def in_two_dimensions(self) -> bool:
        """Whether it is plain FABRIC_2D on a mesh with more than one row and column."""
        return self.config == "FABRIC_2D" and min(self.mesh) > 1

    def takes_ring(self, topology: ttnn.Topology | None, cluster_axis: int | None) -> bool:
        """Whether a collective that is asked for a topology runs around a ring (else on a line).

        `get_usable_topology`: without an axis, chips that fill the mesh are taken for a ring
        unless a side is two long; whether a link closes it is not asked.
        """
        wanted = self.config in WRAPPING if topology is None else topology in RINGS
        if not wanted:
            return False
        if cluster_axis is None:
            return 2 not in self.mesh
        return self.closed[cluster_axis % 2]

    def sends_directly(self, cluster_axis: int | None) -> bool:
        """Whether ttnn.reduce_scatter may send each part straight to its keeper.

        `reduce_scatter_minimal_direct_is_applicable`: a line of one dimension around which the
        fabric itself makes a ring.
        """
        lines = cluster_axis is not None or min(self.mesh) == 1
        return lines and self.config == "FABRIC_1D_RING" and self.takes_ring(None, cluster_axis)


def fabric_of(device: ttnn.MeshDevice, system: System) -> Fabric:
    """The links of an open mesh of a system's chips."""
    rows, columns = device.shape
    chips = device.get_device_ids()
    linked = {frozenset((a, b)) for a, _, b, _ in system.links}
    lines = (
        [chips[column::columns] for column in range(columns)],
        [chips[row * columns : (row + 1) * columns] for row in range(rows)],
    )
    closed = [
        # an axis of two would close on the link that it has
        all(len(line) > 2 and frozenset((line[0], line[-1])) in linked for line in of_axis)
        for of_axis in lines
    ]
    config = ttnn._ttnn.fabric.get_fabric_config().name
    return Fabric(config, (rows, columns), (closed[0], closed[1]))
