"""Facts that only the arithmetic knows about how a result was computed, for evidence.

A call's arguments say which kernel runs and how it is configured. Some branches depend on more,
such as how many times a row is read; and some steps of the kernels are not followed. Where the
arithmetic meets such a branch it records a `Fact`; `take_facts` returns those of one call.
"""

import bisect
from dataclasses import dataclass


@dataclass(frozen=True)
class Fact:
    """`text` as evidence prints it; `approximate` if the kernel's own steps are not followed."""

    text: str
    approximate: bool = False


BEYOND_L1 = Fact("more than L1 holds at once")

# Every `Fact` that is approximate, sorted by its text, in whatever order modules are imported.
APPROXIMATIONS: list[Fact] = []

_facts: set[Fact] = set()


def approximation(text: str) -> Fact:
    """A new `Fact` about steps that are not followed, listed in `APPROXIMATIONS`."""
    fact = Fact(text, approximate=True)
    bisect.insort(APPROXIMATIONS, fact, key=lambda other: other.text)
    return fact


def tell(fact: Fact) -> None:
    """Record a fact about the call being computed."""
    _facts.add(fact)


def take_facts() -> frozenset[Fact]:
    """The facts recorded since the last time this was called."""
    if not _facts:
        return frozenset()
    facts = frozenset(_facts)
    _facts.clear()
    return facts
