"""What only the arithmetic knows of the way to a result: told as it goes, for `ttnn_emulator.evidence`.

A call's arguments say which kernel runs and how it is configured. Some ways fork on more, such as
how often a row has to be taken up again; and some steps of the kernels are not followed. Where the
arithmetic meets such a fork it tells the `Fact`; `told` hands over those of one call.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fact:
    """`text` as it stands in a note; `approximate` where the kernel's own steps are not followed."""

    text: str
    approximate: bool = False


BEYOND_L1 = Fact("more than L1 holds at once")

APPROXIMATIONS = []  # every `Fact` that is approximate, in the order of the modules that have them

_told = set()


def approximation(text):
    """A new `Fact` of steps that are not followed, listed in `APPROXIMATIONS`."""
    fact = Fact(text, approximate=True)
    APPROXIMATIONS.append(fact)
    return fact


def tell(fact):
    """The call that is being computed goes this way."""
    _told.add(fact)


def told():
    """A frozenset of the facts since the last time this was asked."""
    if not _told:
        return frozenset()
    facts = frozenset(_told)
    _told.clear()
    return facts
