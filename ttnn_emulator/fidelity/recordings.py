"""Recorded results of TTNN's own kernels: inputs and outputs of one op call per case.

A case names an op, its attributes and its tensors; the README.md of each set in
`ttnn_emulator/recordings` says what was run and how values are stored. Everything is returned as
torch tensors that hold the exact recorded values.
"""

import functools
import json
import pathlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

FOLDER = pathlib.Path(__file__).parents[1] / "recordings"
SETS = ("first", "second", "two_chips", "four_chips")


@functools.cache
def _archive(path: pathlib.Path) -> dict[str, np.ndarray]:
    with np.load(path) as archive:
        return dict(archive)


@dataclass(frozen=True)
class Case:
    """One recorded call.

    Attributes:
        name: no other case of its set has it.
        family: the file that holds the values, such as "matmul".
        op: the operation's full name.
        attributes: its arguments but tensors, and remarks on the run, as the set's index has them.
        tensors: name -> description: role, shape, dtype and how it is stored.
        folder: that of the set.
        mesh: (rows, columns) of the chips, for which tensors are named NAME_chip0, NAME_chip1, ...
            row by row; None for a call on one chip.
    """

    name: str
    family: str
    op: str
    attributes: dict[str, Any] = field(hash=False)  # of whatever JSON holds
    tensors: dict[str, dict[str, Any]] = field(hash=False)
    folder: pathlib.Path
    mesh: tuple[int, int] | None = None

    def __str__(self) -> str:
        return self.name

    @property
    def path(self) -> str:
        """The case's name with that of its set before it, which no other case has."""
        return f"{self.folder.name}/{self.name}"

    def tensor(self, name: str, padded: bool = False) -> torch.Tensor:
        """The values of tensor `name`, logical shape, or as it lay on the device if `padded`.

        float32 for float formats (bf16, bfp8_b and bfp4_b values are exact in it), int32 for
        integers. Raises ValueError if `padded` is asked for and only logical values were stored.
        """
        entry = self.tensors[name]
        stored = _archive(self.folder / f"{self.family}.npz")[entry["key"]]
        if entry["encoding"] == "bf16_bits":
            stored = (stored.astype(np.uint32) << 16).view(np.float32)
        values = torch.from_numpy(np.array(stored))
        if padded:
            whole = list(values.shape) == list(entry["padded_shape"])
            if entry.get("stored") != "padded" and not whole:
                raise ValueError(f"{self.name}: {name} was recorded without its tile padding")
            return values
        return values[tuple(slice(0, size) for size in entry["shape"])].contiguous()

    def output(self, name: str = "out0") -> torch.Tensor:
        """The recorded output at its logical shape."""
        return self.tensor(name)


def all_cases() -> tuple[Case, ...]:
    """Every case of the project's own sets, in recorded order."""
    return tuple(case for name in SETS for case in cases_of(FOLDER / name))


def one_chip_cases() -> tuple[Case, ...]:
    """Those of calls on one chip."""
    return tuple(case for case in all_cases() if case.mesh is None)


@functools.cache
def cases_of(folder: pathlib.Path) -> tuple[Case, ...]:
    """Every case of a folder of recordings, in recorded order."""
    folder = pathlib.Path(folder)
    index = json.loads((folder / "index.json").read_text())
    return tuple(
        Case(
            name=entry["name"],
            family=entry["file"].removesuffix(".npz"),
            op=entry["op"],
            attributes=entry["attributes"],
            tensors=entry["tensors"],
            folder=folder,
            mesh=tuple(entry["mesh"]) if "mesh" in entry else None,
        )
        for entry in index["cases"]
    )


def cases(*families: str, recorded: str = "first") -> list[Case]:
    """The cases of the given families in one of the project's own sets, in recorded order."""
    all_of_set = cases_of(FOLDER / recorded)
    unknown = set(families) - {case.family for case in all_of_set}
    if unknown:
        raise ValueError(f"the {recorded} set has no recordings of {sorted(unknown)}")
    return [case for case in all_of_set if case.family in families]


def case(name: str) -> Case:
    """The project's own case called `name`, of the first set that has it; KeyError if none has."""
    for candidate in all_cases():
        if candidate.name == name:
            return candidate
    raise KeyError(f"no recorded case is called {name!r}")
