"""The systems that can be emulated: how many chips there are, and how they are linked.

A system is a cluster description, which TTNN's mock cluster takes in place of a discovered one
(tt_umd: `ClusterDescriptor`). Each chip is a Wormhole with one row of worker cores harvested: 8x8
cores are left to programs.
"""

import dataclasses
from collections.abc import Iterable, Sequence

# Any number is one; that of a board is the first of its chips' own numbers.
FIRST_ID = 72059269368820857

HARVESTING = (
    "{noc_translation: true, harvest_mask: 64, dram_harvesting_mask: 0, eth_harvesting_mask: 0, "
    "pcie_harvesting_mask: 0}"
)

Link = tuple[int, int, int, int]  # chip, its Ethernet channel, the other chip, its channel


@dataclasses.dataclass(frozen=True)
class System:
    """A machine with Wormhole chips.

    Attributes:
        name: such as "n300".
        mesh: (rows, columns) in which bring-ups take its chips.
        board: the type of its boards.
        places: of each chip, its (x, y) in the cluster.
        boards: the chips of each board; the first has the PCIe link.
        links: the Ethernet links between chips.
    """

    name: str
    mesh: tuple[int, int]
    board: str
    places: Sequence[tuple[int, int]]
    boards: Sequence[Sequence[int]]
    links: Sequence[Link] = ()

    @property
    def chips(self) -> int:
        """How many there are."""
        return len(self.places)

    def described(self) -> str:
        """The cluster description, in YAML."""

        def of_each(texts: Iterable[str]) -> str:
            return "{" + ", ".join(f"{chip}: {text}" for chip, text in enumerate(texts)) + "}"

        def several(texts: Iterable[str]) -> str:
            return "[" + ", ".join(texts) + "]"

        lines = {
            "arch": of_each(["wormhole_b0"] * self.chips),
            "chips": of_each(f"[{x}, {y}, 0, 0]" for x, y in self.places),
            "ethernet_connections": several(
                f"[{{chip: {a}, chan: {i}}}, {{chip: {b}, chan: {j}}}]" for a, i, b, j in self.links
            ),
            "chips_with_mmio": several(f"{{{chips[0]}: {chips[0]}}}" for chips in self.boards),
            "harvesting": of_each([HARVESTING] * self.chips),
            "chip_to_boardtype": of_each([self.board] * self.chips),
            "chip_unique_ids": of_each(str(FIRST_ID + chip) for chip in range(self.chips)),
            "boards": several(
                f"[{{board_id: {FIRST_ID + number}}}, {{board_type: {self.board}}}, "
                f"{{chips: {list(chips)}}}]"
                for number, chips in enumerate(self.boards)
            ),
        }
        return "".join(f"{key}: {text}\n" for key, text in lines.items())


def _cables(pairs: Iterable[tuple[int, int, int]]) -> list[Link]:
    """Two links for each (chip, other chip, first channel), on the same channels of both."""
    return [(a, first + k, b, first + k) for a, b, first in pairs for k in range(2)]


def _on_board(first: int, second: int) -> list[Link]:
    """The two links between the chips of an n300: 8 and 9 of the first, 0 and 1 of the second."""
    return [(first, 8 + k, second, k) for k in range(2)]


N150 = System("n150", (1, 1), "n150", places=[(0, 0)], boards=[[0]])
N300 = System(
    "n300", (1, 2), "n300", places=[(0, 0), (1, 0)], boards=[[0, 1]], links=_on_board(0, 1)
)
# Four n300 in a mesh of 4 x 2: chips 0 to 3 in the middle have the PCIe links, 4 to 7 at the ends.
T3000 = System(
    "t3000",
    (1, 8),
    "n300",
    places=[(1, 0), (1, 1), (2, 1), (2, 0), (0, 0), (0, 1), (3, 1), (3, 0)],
    boards=[[chip, chip + 4] for chip in range(4)],
    links=[link for chip in range(4) for link in _on_board(chip, chip + 4)]
    + _cables([(0, 1, 14), (2, 3, 14), (0, 3, 6), (1, 2, 6), (4, 5, 14), (6, 7, 14)]),
)

# Name -> the system, the smallest first.
SYSTEMS = {system.name: system for system in (N150, N300, T3000)}


def find(name: str) -> System:
    """Raises ValueError for a name that none has."""
    if name not in SYSTEMS:
        raise ValueError(f"system {name!r}: there are {', '.join(SYSTEMS)}.")
    return SYSTEMS[name]


def smallest(chips: int) -> System:
    """The smallest system with so many chips; the largest one where none has."""
    enough = [system for system in SYSTEMS.values() if system.chips >= chips]
    return enough[0] if enough else T3000
