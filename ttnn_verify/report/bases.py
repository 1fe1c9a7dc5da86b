"""What the emulated results of a run rest on: which of its operations are not followed, and how."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # ttnn, which the emulator imports, is slow
    from ttnn_emulator.evidence import Evidence

# What an operation is said to be whose steps are all taken, whatever is recorded of it.
FOLLOWED = "the kernel's steps"
MOST_TOLD = 6  # approximate operations of which a line says how they are
ROUNDED = "computed in float32, each result rounded once (--arithmetic rounded)"


def approximate(settings: Iterable["Evidence"]) -> dict[str, str]:
    """Operation -> the steps that are not followed, of those with any.

    Args:
        settings: what ran, as `ttnn_emulator.found_evidence` tells it.
    """
    steps: dict[str, set[str]] = {}
    for entry in settings:
        if entry.not_followed:
            steps.setdefault(short(entry), set()).update(entry.not_followed)
    return {name: "; ".join(sorted(of_one)) for name, of_one in sorted(steps.items())}


def short(entry: "Evidence") -> str:
    """An operation's name without that of the library."""
    return entry.operation.removeprefix("ttnn.")


def of_run(backend: str, arithmetic: str | None) -> str:
    """What this process's emulated results rest on, in a line; "" on another backend, or of none.

    Args:
        backend, arithmetic: their names; None for the emulator's default.
    """
    if backend != "emulated":
        return ""
    if arithmetic == "rounded":
        return ROUNDED
    import ttnn_emulator  # slow

    settings = ttnn_emulator.found_evidence()
    return line(len({entry.operation for entry in settings}), approximate(settings))


def line(operations: int, not_followed: Mapping[str, str]) -> str:
    """In a line: how many operations are followed, and what the others do.

    Of more than `MOST_TOLD` others it has the names alone; `ttnn_emulator.coverage` tells the rest.

    Args:
        operations: how many computed in all.
        not_followed: `approximate` of them.
    """
    if not operations:
        return ""
    followed = operations - len(not_followed)
    counted = f"{followed} operation{'' if followed == 1 else 's'} by {FOLLOWED}"
    if not not_followed:
        return f"{counted}, none approximate"
    if len(not_followed) > MOST_TOLD:
        named = f"{', '.join(not_followed)} (python -m ttnn_emulator.coverage says how)"
    else:
        named = ", ".join(f"{name} ({steps})" for name, steps in not_followed.items())
    return f"{counted}, {len(not_followed)} approximate: {named}"
