"""Facts about the way to a result that only the arithmetic knows, for `ttnn_emulator.evidence`.

A call's arguments say which kernel runs and how it is configured. Some ways fork on more, such as
how often a row has to be read again; and some steps of the kernels are not followed. Where the
arithmetic meets such a fork it tells the `Fact`; `take_facts` hands over those of one call.
"""

import bisect
from dataclasses import dataclass


@dataclass(frozen=True)
class Fact:
    """`text` as it stands in a note; `approximate` if the kernel's own steps are not followed."""

    text: str
    approximate: bool = False


BEYOND_L1 = Fact("more than L1 holds at once")

# Every `Fact` that is approximate, sorted by its text, in whatever order modules are imported.
APPROXIMATIONS: list[Fact] = []

_facts: set[Fact] = set()


def approximation(text: str) -> Fact:
    """A new `Fact` of steps that are not followed, listed in `APPROXIMATIONS`."""
    fact = Fact(text, approximate=True)
    bisect.insort(APPROXIMATIONS, fact, key=lambda other: other.text)
    return fact


def tell(fact: Fact) -> None:
    """Record that the call being computed goes this way."""
    _facts.add(fact)


def take_facts() -> frozenset[Fact]:
    """The facts recorded since the last time this was called."""
    if not _facts:
        return frozenset()
    facts = frozenset(_facts)
    _facts.clear()
    return facts
