"""Configurations that were measured, each once, and those that TTNN refuses."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable

import torch

from ttnn_verify import sentences
from ttnn_verify.files.stored import StoredResults
from ttnn_verify.huggingface.inputs import ModelFails, Undetermined
from ttnn_verify.precision import cost
from ttnn_verify.precision.configuration import Configuration, as_json
from ttnn_verify.precision.cost import Cost
from ttnn_verify.precision.measuring import Measured
from ttnn_verify.precision.sites import Sites

# What TTNN and the emulated device raise where a call is not to be had in a format.
REFUSALS = (RuntimeError, NotImplementedError)


class Refused(Exception):
    """A configuration that TTNN does not compute; the message says why."""


@dataclasses.dataclass(frozen=True)
class Point:
    """A configuration, what it costs and how far off the model is with it.

    Attributes:
        step: of the search that asked for it, in words.
    """

    configuration: Configuration
    cost: Cost
    measured: Measured
    step: str


class Points:
    """Measures configurations, each once; those of an earlier run are known already.

    Attributes:
        all: in the order in which they were asked for first.
        evaluations: how many were measured in this run or an earlier one.
        refused: name of what was asked for -> why TTNN refuses it.
    """

    def __init__(
        self,
        sites: Sites,
        measure: Callable[[Configuration], Measured],
        kept: StoredResults | None = None,
    ) -> None:
        self.sites, self._measure, self._kept = sites, measure, kept
        self.all: list[Point] = []
        self.refused: dict[str, str] = {}
        self._known: dict[str, Point] = {}
        self._model = ""  # the digest of its logits as it is

    @property
    def evaluations(self) -> int:
        return len(self.all) + len(self.refused)

    def unchanged(self, step: str = "as it is") -> Point:
        """The model as it is: measured in every run, so that results of another are never taken."""
        measured = self._measure({})
        self._model = measured.digest
        return self._noted({}, measured, step)

    def at(self, configuration: Configuration, step: str) -> Point:
        """A configuration's point.

        Raises:
            Refused: TTNN does not compute it.
        """
        name = json.dumps(as_json(configuration))
        if name in self._known:
            return self._known[name]
        if name in self.refused:
            raise Refused(self.refused[name])
        key = hashlib.sha256(f"{self._model} {name}".encode()).digest()
        content = self._kept.get(key) if self._kept else None
        if content is not None:
            return self._noted(configuration, _read(content), step)
        try:
            measured = self._measure(configuration)
        except (ModelFails, Undetermined):
            raise
        except REFUSALS as error:
            self.refused[name] = sentences.first_line(error)
            raise Refused(self.refused[name]) from error
        if self._kept is not None:
            self._kept.put(key, _written(measured))
            self._kept.flush()
        return self._noted(configuration, measured, step)

    def _noted(self, configuration: Configuration, measured: Measured, step: str) -> Point:
        point = Point(configuration, cost.of(self.sites, configuration), measured, step)
        self.all.append(point)
        self._known[json.dumps(as_json(configuration))] = point
        return point


def front(points: Iterable[Point], minimized: str) -> list[Point]:
    """The points that no other one beats in cost and in KL, the most expensive first."""
    best: list[Point] = []
    for point in sorted(points, key=lambda one: (one.cost.of(minimized), _kl(one))):
        if not best or _kl(point) < _kl(best[-1]):
            best.append(point)
    return best[::-1]


def _kl(point: Point) -> float:
    return point.measured.figures["kl"]


def _written(measured: Measured) -> bytes:
    fields = vars(measured) | {"kl": measured.kl.tolist(), "same": measured.same.tolist()}
    return json.dumps(fields).encode()


def _read(content: bytes) -> Measured:
    fields = json.loads(content)
    kl = torch.tensor(fields["kl"], dtype=torch.float64)
    same = torch.tensor(fields["same"], dtype=torch.bool)
    return Measured(kl, same, fields["pcc"], fields["digest"])
