"""Recorded results of TTNN's own kernels: inputs and outputs of one op call per case.

A case names an op, its attributes and its tensors; the README.md of each set in
`ttnn_emulator/recordings` says what was run and how values are stored.  Everything is returned as torch tensors holding the exact
recorded values.
"""

import functools
import json
import pathlib
from dataclasses import dataclass, field

import numpy as np
import torch

FOLDER = pathlib.Path(__file__).parents[1] / "recordings"
SETS = ("first", "second")


@functools.cache
def _archive(path):
    with np.load(path) as archive:
        return dict(archive)


@dataclass(frozen=True)
class Case:
    """One recorded call: `op` with `attributes`; `tensors` maps a name to its stored description."""

    name: str
    family: str
    op: str
    attributes: dict = field(hash=False)
    tensors: dict = field(hash=False)
    folder: pathlib.Path

    def __str__(self):
        return self.name

    @property
    def path(self):
        """The case's name with that of its set before it, which no other case has."""
        return f"{self.folder.name}/{self.name}"

    def tensor(self, name, padded=False):
        """The values of tensor `name`, logical shape, or as it lay on the device if `padded`.

        float32 for float formats (bf16, bfp8_b and bfp4_b values are exact in it), int32 for
        integers.  Raises ValueError if `padded` is asked for and only logical values were stored.
        """
        entry = self.tensors[name]
        values = _archive(self.folder / f"{self.family}.npz")[entry["key"]]
        if entry["encoding"] == "bf16_bits":
            values = (values.astype(np.uint32) << 16).view(np.float32)
        values = torch.from_numpy(np.array(values))
        if padded:
            whole = list(values.shape) == list(entry["padded_shape"])
            if entry.get("stored") != "padded" and not whole:
                raise ValueError(f"{self.name}: {name} was recorded without its tile padding")
            return values
        return values[tuple(slice(0, size) for size in entry["shape"])].contiguous()

    def output(self, name="out0"):
        """The recorded output at its logical shape."""
        return self.tensor(name)


def all_cases():
    """Every case of the project's own sets, in recorded order."""
    return tuple(case for name in SETS for case in cases_of(FOLDER / name))


@functools.cache
def cases_of(folder):
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
        )
        for entry in index["cases"]
    )


def cases(*families, recorded="first"):
    """The cases of the given families in one of the project's own sets, in recorded order."""
    found = cases_of(FOLDER / recorded)
    unknown = set(families) - {case.family for case in found}
    if unknown:
        raise ValueError(f"the {recorded} set has no recordings of {sorted(unknown)}")
    return [case for case in found if case.family in families]


def case(name):
    """The project's own case called `name`, of the first set that has it; KeyError if none has."""
    for candidate in all_cases():
        if candidate.name == name:
            return candidate
    raise KeyError(f"no recorded case is called {name!r}")
