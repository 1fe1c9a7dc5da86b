"""Writes the first bad call of a model as a program of its own, to be attached to a report."""

import pathlib

import safetensors.torch

from ttnn_verify.drift.finding import OpFinding
from ttnn_verify.drift.isolated import Walked
from ttnn_verify.drift.reproducer import program, wanted
from ttnn_verify.drift.reproducer.program import BadCall, Setting
from ttnn_verify.drift.reproducer.wanted import NotReproducible
from ttnn_verify.files import atomic

__all__ = ["Capture", "NotReproducible", "Setting", "write"]


class Capture:
    """Keeps the first bad call of a walk, as it is made: an `on_bad` of a `drift.Session`.

    Attributes:
        first: what was found of it, None where no call was bad.
    """

    def __init__(self) -> None:
        self.first: OpFinding | None = None
        self._case: BadCall | NotReproducible = NotReproducible("no call is bad.")

    def __call__(self, op_finding: OpFinding, walked: Walked) -> None:
        if self.first is not None and self.first.place <= op_finding.place:
            return
        self.first = op_finding
        try:
            self._case = BadCall(op_finding, *wanted.of(op_finding, walked))
        except NotReproducible as error:
            self._case = error
        except Exception as error:  # noqa: BLE001 - the verdict on the model does not depend on it
            self._case = NotReproducible(f"{type(error).__name__}: {error}")

    @property
    def case(self) -> BadCall:
        """The first bad call.

        Raises:
            NotReproducible: there is none, or no program can make it again.
        """
        if isinstance(self._case, NotReproducible):
            raise self._case
        return self._case


def write(capture: Capture, folder: pathlib.Path, setting: Setting) -> pathlib.Path:
    """Write the program and its operands into a folder, which is created. Returns the program.

    Raises:
        NotReproducible: no program can make the call again; nothing is written.
        OSError: the folder cannot be written to.
    """
    text, stored = program.written(capture.case, setting)
    folder.mkdir(exist_ok=True)
    atomic.write(folder / program.OPERANDS, lambda file: safetensors.torch.save_file(stored, file))
    atomic.write_text(folder / program.PROGRAM, text)
    return folder / program.PROGRAM
