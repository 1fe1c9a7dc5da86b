"""What TTNN's operations accept: the signatures that nanobind keeps of their C++ functions."""

import ast
import dataclasses
import re
from collections.abc import Iterable, Iterator
from typing import Any


@dataclasses.dataclass(frozen=True)
class Overload:
    """One of an operation's "Available signatures".

    Attributes:
        positional: parameters that may be given by position or by name, in order.
        keyword: parameters that may be given by name alone.
        defaults: the defaults of those that have one.
    """

    positional: tuple[str, ...]
    keyword: tuple[str, ...]
    defaults: dict[str, Any]

    @property
    def names(self) -> tuple[str, ...]:
        return self.positional + self.keyword

    @property
    def required(self) -> list[str]:
        return [name for name in self.names if name not in self.defaults]


def overloads(function: Any) -> list[Overload]:
    """The signatures of a bound C++ function; of a Python function none.

    Args:
        function: TTNN's own, or the one that the emulation has put in its place.
    """
    function = getattr(function, "__wrapped__", function)
    kept: Any = getattr(function, "__nb_signature__", None) or getattr(
        type(function).__call__, "__nb_signature__", ()
    )
    return [_overload(text, defaults or ()) for text, _, defaults in kept]


def is_default(name: str, value: Any, forms: Iterable[Overload]) -> bool:
    """Whether an argument has the value that it has where it is not given, in one of the forms."""
    for form in forms:
        if name in form.defaults:
            default = form.defaults[name]
            if value is default or (type(value) is type(default) and value == default):
                return True
    return False


def _overload(text: str, values: tuple[Any, ...]) -> Overload:
    """From nanobind's text, which says `\\2` for the third of the default `values`.

    C++ may have a parameter without a default after one with one, so Python cannot parse it whole.
    """
    inner = text[text.index("(") + 1 : text.rindex(") ->")]
    positional: list[str] = []
    keyword: list[str] = []
    defaults = {}
    names = positional
    for part in _parts(inner):
        if part in ("*", "/"):
            names = keyword if part == "*" else names
            continue
        declared, _, default = part.partition(" = ")
        name = re.split(r"[:\s]", declared.strip(), maxsplit=1)[0]
        if name == "self":
            continue
        names.append(name)
        if default:
            written = default.strip()
            numbered = re.fullmatch(r"\\(\d+)", written)
            defaults[name] = values[int(numbered[1])] if numbered else ast.literal_eval(written)
    return Overload(tuple(positional), tuple(keyword), defaults)


def _parts(inner: str) -> Iterator[str]:
    """The parameters of a list of them: what lies between commas outside of brackets."""
    depth, begin = 0, 0
    for at, sign in enumerate(inner):
        depth += (sign in "[(") - (sign in "])")
        if sign == "," and not depth:
            yield inner[begin:at].strip()
            begin = at + 1
    if inner[begin:].strip():
        yield inner[begin:].strip()
