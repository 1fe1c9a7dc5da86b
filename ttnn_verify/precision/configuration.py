"""How precisely a place of a model computes, in place of what the model asks for.

A configuration is a setting for each place that has another than the model's own. As JSON it is
what `--json` of the command writes under "settings", and what a model file may take.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

# Formats of weights and caches, the most exact first, and the bytes of a tile.
TILE_BYTES = {"float32": 4096, "bfloat16": 2048, "bfloat8_b": 1088, "bfloat4_b": 576}
FORMATS = tuple(TILE_BYTES)
# Math fidelities, the most exact first, and the phases of each.
PHASES = {"HiFi4": 4, "HiFi3": 3, "HiFi2": 2, "LoFi": 1}


# What a budget may bound, and what may be made small.
METRICS = ("kl", "top1", "pcc")
MINIMIZED = ("bytes", "time")
# How many times the prompts of a search those of its check are.
CHECKS = 2


class Place(NamedTuple):
    """A layer, or None outside of the layers, and the name of what is computed there."""

    layer: int | None
    part: str

    def __str__(self) -> str:
        return self.part if self.layer is None else f"layer {self.layer} {self.part}"


@dataclasses.dataclass(frozen=True)
class PlaceSetting:
    """What is asked of a place; None leaves a field as the model has it.

    Attributes:
        dtype: format of a product's weight or of a cache, one of `FORMATS`.
        fidelity: one of `PHASES`.
        fp32_dest_acc: whether sums have 32 bits.
        exact_exp: whether attention's exponential is exact.
    """

    dtype: str | None = None
    fidelity: str | None = None
    fp32_dest_acc: bool | None = None
    exact_exp: bool | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """What it says anything of."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def over(self, other: "PlaceSetting") -> "PlaceSetting":
        """This, and where it says nothing the other."""
        return PlaceSetting(**(other.fields | self.fields))

    def __str__(self) -> str:
        words = [self.dtype, self.fidelity]
        words.append({None: None, True: "32-bit sums", False: "16-bit sums"}[self.fp32_dest_acc])
        words.append({None: None, True: "exact exp", False: "TTNN's exp"}[self.exact_exp])
        return ", ".join(word for word in words if word) or "as it is"


AS_IT_IS = PlaceSetting()

Configuration = Mapping[Place, PlaceSetting]


def merged(configuration: Configuration, more: Configuration) -> dict[Place, PlaceSetting]:
    """A configuration, and another one that prevails."""
    result = dict(configuration)
    for place, setting in more.items():
        result[place] = setting.over(result.get(place, AS_IT_IS))
    return result


def as_json(configuration: Configuration) -> list[dict[str, Any]]:
    """The configuration as JSON has it, by layers."""
    places = sorted(configuration, key=lambda place: (place.layer is None, place))
    return [{**place._asdict(), **configuration[place].fields} for place in places]


def from_json(settings: Iterable[Mapping[str, Any]]) -> dict[Place, PlaceSetting]:
    """The reverse of `as_json`."""
    return {
        Place(one["layer"], one["part"]): PlaceSetting(
            **{name: value for name, value in one.items() if name not in Place._fields}
        )
        for one in settings
    }


def in_lines(configuration: Configuration) -> list[str]:
    """The configuration in lines such as `layers 0-2 gate: bfloat4_b`, neighbours joined."""
    groups: dict[tuple[str, PlaceSetting], list[int | None]] = {}
    for place in sorted(configuration, key=lambda place: (place.layer is None, place)):
        groups.setdefault((place.part, configuration[place]), []).append(place.layer)
    return [f"{_layers(layers)}{part}: {setting}" for (part, setting), layers in groups.items()]


def _layers(layers: Iterable[int | None]) -> str:
    """`layers 0-2, 5 `; "" outside of layers."""
    runs: list[list[int]] = []
    for layer in layers:
        if layer is None:
            return ""
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    shown = ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)
    several = len(runs) > 1 or len(runs[0]) > 1
    return f"layer{'s' if several else ''} {shown} "
