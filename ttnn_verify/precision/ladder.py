"""What may be made coarser: knobs, each with its steps from what the model has downwards."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from ttnn_verify.precision import cost
from ttnn_verify.precision.configuration import (
    FORMATS,
    PHASES,
    Configuration,
    Place,
    PlaceSetting,
    merged,
)
from ttnn_verify.precision.sites import CACHE, Site, Sites

# By what is minimized, the kinds of knobs: formats make bytes, compute configs make time.
ASPECTS = {"bytes": ("format",), "time": ("format", "fidelity")}
# What else a table of sensitivities may show; it makes nothing smaller that `cost` counts.
FURTHER = ("sums", "exp")


@dataclasses.dataclass(frozen=True)
class Knob:
    """Places that are made coarser together, in one way.

    Attributes:
        name: "layers 0-3 down", say, and "fidelity" and the like where it is not the format.
        part: of the places.
        steps: settings, each coarser than the one before; what the model has is not among them.
    """

    name: str
    part: str
    places: tuple[Place, ...]
    steps: tuple[PlaceSetting, ...]

    def at(self, step: int) -> dict[Place, PlaceSetting]:
        """The configuration with this knob alone at a step; 0 is as the model has it."""
        return dict.fromkeys(self.places, self.steps[step - 1]) if step else {}

    def without(self, refused: int) -> "Knob":
        """The knob without a step and those below it."""
        return dataclasses.replace(self, steps=self.steps[: refused - 1])


def knobs(sites: Sites, aspects: Iterable[str], most: int) -> list[Knob]:
    """The knobs of a model, of neighbouring layers together where there would be more than `most`.

    Args:
        aspects: of "format", "fidelity", "sums" and "exp".
    """
    found = [
        (aspect, site, steps)
        for aspect in aspects
        for site in sites.sites
        if (steps := _steps(aspect, site))
    ]
    layers = sorted({site.place.layer for _, site, _ in found if site.place.layer is not None})
    size = 1
    while True:
        made = _grouped(found, {layer: at // size for at, layer in enumerate(layers)})
        if len(made) <= most or size >= len(layers):
            return made
        size += 1


def _steps(aspect: str, site: Site) -> tuple[PlaceSetting, ...]:
    """Settings of a site that are coarser than its own, one after the other."""
    if aspect == "format" and site.kind in ("product", CACHE):
        coarser = FORMATS[FORMATS.index(site.dtype) + 1 :]
        return tuple(PlaceSetting(dtype=dtype) for dtype in coarser if dtype.startswith("bfloat"))
    if site.compute is None or site.kind == CACHE:
        return ()
    if aspect == "fidelity" and site.kind in ("product", "attention"):
        fidelities = tuple(PHASES)
        coarser = fidelities[fidelities.index(site.compute.fidelity) + 1 :]
        return tuple(PlaceSetting(fidelity=fidelity) for fidelity in coarser)
    if aspect == "sums" and site.compute.fp32_dest_acc:
        return (PlaceSetting(fp32_dest_acc=False),)
    if aspect == "exp" and site.exact_exp:
        return (PlaceSetting(exact_exp=False),)
    return ()


def _grouped(
    found: Sequence[tuple[str, Site, tuple[PlaceSetting, ...]]], group: Mapping[int, int]
) -> list[Knob]:
    """Knobs, in each of which places of a group of layers have the same part and steps."""
    together: dict[tuple, list[Place]] = {}
    for aspect, site, steps in found:
        number = None if site.place.layer is None else group[site.place.layer]
        together.setdefault((aspect, number, site.place.part, steps), []).append(site.place)
    return [
        Knob(_name(aspect, part, places), part, tuple(places), steps)
        for (aspect, _, part, steps), places in together.items()
    ]


def _name(aspect: str, part: str, places: Sequence[Place]) -> str:
    layers = [place.layer for place in places if place.layer is not None]
    where = ""
    if layers:
        several = f"layers {layers[0]}-{layers[-1]} "
        where = several if len(layers) > 1 else f"layer {layers[0]} "
    return f"{where}{part}" + ("" if aspect == "format" else f" ({aspect})")


@dataclasses.dataclass(frozen=True)
class Move:
    """A knob from one step to the next.

    Attributes:
        knob: its number.
        step: that it leads to, from 1.
        saved: what it saves of what is minimized.
        loss: the KL in nats that it is expected to add.
    """

    knob: int
    step: int
    saved: float
    loss: float

    @property
    def price(self) -> float:
        """KL for each unit that is saved."""
        return self.loss / self.saved if self.saved > 0 else float("inf")


def moves(
    sites: Sites, made: Sequence[Knob], losses: Mapping[tuple[int, int], float], minimized: str
) -> list[Move]:
    """All moves, the cheapest first, of a knob in their order.

    Args:
        losses: (knob's number, step) -> KL that it adds alone; of the last steps at least. Of a
            step that was not measured the loss is that of the next one by the squares of what
            formats and fidelities err.
    """
    before = cost.of(sites, {}).of(minimized)
    found = []
    for number, knob in enumerate(made):
        saved, lost, price = 0.0, 0.0, 0.0
        for step in range(1, len(knob.steps) + 1):
            loss = _loss(losses, number, step, knob)
            total = before - cost.of(sites, knob.at(step)).of(minimized)
            move = Move(number, step, total - saved, max(loss - lost, 0.0))
            price = max(price, move.price)  # a move cannot be made before the one above it
            found.append((price, move))
            saved, lost = total, loss
    return [move for _, move in sorted(found, key=lambda pair: (pair[0], pair[1].step))]


# By how much the KL of a step is less than that of the next coarser one, if it is not measured: it
# grows with the square of the error, which four bits of a format make 16 times larger, and a phase
# of a product about 4 times.
FINER_FORMAT, FINER_PHASE = 256.0, 16.0


def _loss(losses: Mapping[tuple[int, int], float], number: int, step: int, knob: Knob) -> float:
    for coarser in range(step, len(knob.steps) + 1):
        if (number, coarser) in losses:
            finer = FINER_FORMAT if knob.steps[step - 1].dtype else FINER_PHASE
            return losses[number, coarser] / finer ** (coarser - step)
    return 0.0


def taken(made: Sequence[Knob], chosen: Iterable[Move]) -> Configuration:
    """The configuration after some moves."""
    deepest: dict[int, int] = {}
    for move in chosen:
        deepest[move.knob] = max(deepest.get(move.knob, 0), move.step)
    result: dict[Place, PlaceSetting] = {}
    for number, step in deepest.items():
        result = merged(result, made[number].at(step))
    return result
