"""Replacing attributes of other people's objects, in layers that know their order.

Different parts of these packages replace TTNN's operations and Hugging Face's functions, call them
from frames that bear their names, and observe them, all at once. Each part pushes a `Layer`, which
may replace an attribute only above layers of its own level or a lower one, and which ends before
those below it do. Whatever breaks that order raises `OutOfOrder` and changes nothing.
"""

import dataclasses
import enum
from collections.abc import Callable
from types import TracebackType
from typing import Any, final


class Level(enum.IntEnum):
    """What a layer does, the innermost first."""

    STAND_IN = 0  # it computes, or decides, in place of the original attribute
    FRAME = 1  # it calls what is below from a frame of its own name, for stacks of hung calls
    OBSERVER = 2  # it sees what is called, and what comes back


class OutOfOrder(RuntimeError):
    """A layer was pushed below, or removed from below, one that is still in place."""


@dataclasses.dataclass(frozen=True)
class _Replacement:
    layer: "Layer"
    owner: Any  # any object with attributes; kept alive, so that its id is not reused
    attribute: str
    original: Any

    @property
    def slot(self) -> tuple[int, str]:
        return id(self.owner), self.attribute


# (id of an owner, attribute) -> what replaces it, the innermost first
_slots: dict[tuple[int, str], list[_Replacement]] = {}


@final
class Layer:
    """Replaced attributes, put back together: by `undo`, or at the end of a `with` block."""

    def __init__(self, name: str, level: Level) -> None:
        """`name` identifies the layer in errors, such as "the emulated device"."""
        self.name = name
        self.level = level
        self._replacements: list[_Replacement] = []

    def replace(self, owner: Any, attribute: str, value: Any) -> None:
        """Set an attribute of `owner`, any object that has it.

        Raises:
            OutOfOrder: a layer of a higher level has replaced it already.
        """
        slot = id(owner), attribute
        above = [r.layer for r in _slots.get(slot, ()) if r.layer.level > self.level]
        if above:
            raise OutOfOrder(
                f"{self.name} must replace {_text(owner, attribute)} before {above[0].name} does, "
                "which is there already; end that first."
            )
        replacement = _Replacement(self, owner, attribute, getattr(owner, attribute))
        _slots.setdefault(slot, []).append(replacement)
        self._replacements.append(replacement)
        setattr(owner, attribute, value)

    def wrap(self, owner: Any, attribute: str, wrapper: Callable[[Any], Any]) -> None:
        """`replace` by what `wrapper` makes of the present value."""
        self.replace(owner, attribute, wrapper(getattr(owner, attribute)))

    def undo(self) -> None:
        """Put everything back, the latest first. The layer is empty then and may be used again.

        Raises:
            OutOfOrder: another layer lies above; nothing is put back.
        """
        for replacement in self._replacements:
            top = _slots[replacement.slot][-1].layer
            if top is not self:
                raise OutOfOrder(
                    f"{self.name} cannot end before {top.name} does, which has replaced "
                    f"{_text(replacement.owner, replacement.attribute)} above it."
                )
        while self._replacements:
            replacement = self._replacements.pop()
            _slots[replacement.slot].pop()
            if not _slots[replacement.slot]:
                del _slots[replacement.slot]
            setattr(replacement.owner, replacement.attribute, replacement.original)

    def __enter__(self) -> "Layer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.undo()


def _text(owner: Any, attribute: str) -> str:
    return f"{getattr(owner, '__name__', type(owner).__name__)}.{attribute}"
