"""The note of what was recorded and what only derived, and the tables of fidelity, in the README.

`write` keeps the recordings' settings in `recordings/evidence.json`, which live runs are judged by,
and puts everything else between marks of `ttnn_emulator/README.md`.
"""

import json
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence

from ttnn_emulator import evidence
from ttnn_emulator.fidelity.figures import ReplayFigures
from ttnn_emulator.fidelity.recordings import Case

# A recorded call, how its replay compares, and what the replay rests on: see `__main__.measure`.
Measured = tuple[Case, ReplayFigures, evidence.Evidence | None]

README = pathlib.Path(__file__).parents[1] / "README.md"


def settings_of(measured: Iterable[Measured]) -> evidence.Recordings:
    """The recordings of each setting, from `__main__.measure`'s results."""
    recordings: evidence.Recordings = {}
    for case, figures, of_call in measured:
        if of_call is not None:
            setting = recordings.setdefault(of_call.operation, {}).setdefault(of_call.setting, {})
            kind = "equal" if equal(figures) else "unequal"
            setting.setdefault(kind, []).append(case.path)
    return recordings


def equal(figures: ReplayFigures) -> bool:
    """Whether every defined element of a replayed call, padding included, has the recorded bits."""
    same = figures.equal == figures.elements and figures.padding_equal == figures.padding
    return same and not figures.refused


def lines(
    recorded: evidence.Recordings, unrecorded: Iterable[str], approximations: Iterable[str]
) -> list[str]:
    """The note in Markdown; `recorded` as `settings_of` returns it."""
    rows = [
        f"| {_name(operation)} | {formats} | {_joined(ways)} | {status} | {count} |"
        for (operation, formats, status), (ways, count) in _grouped(recorded).items()
    ]
    return [
        "| operation | formats | setting | evidence | recordings |",
        "|---|---|---|---|---|",
        *rows,
        "",
        "`approximate`, in whatever operation it is met:",
        f"{'; '.join(approximations)}.",
        "",
        (
            "`derived` otherwise: every other setting of the operations of the table, and all "
            "settings of"
        ),
        f"those of which nothing was recorded: {', '.join(map(_name, unrecorded))}.",
    ]


def _grouped(
    recorded: evidence.Recordings,
) -> dict[tuple[str, str, str], tuple[tuple[str, ...], int]]:
    """(operation, formats, evidence) -> (other words of its settings, number of recordings)."""
    grouped: dict[tuple[str, str, str], tuple[tuple[str, ...], int]] = {}
    for operation, settings in sorted(recorded.items()):
        for setting, recordings in sorted(settings.items()):
            formats, _, way = setting.partition("; ")
            key = operation, formats, _status(setting, recordings)
            ways, count = grouped.get(key, ((), 0))
            count += len(recordings.get("equal", ())) + len(recordings.get("unequal", ()))
            grouped[key] = (*ways, way), count
    return grouped


def _status(setting: str, recordings: Mapping[str, Sequence[str]]) -> str:
    approximate = bool(set(evidence.approximations()) & set(setting.split("; ")))
    status = evidence.status_of(approximate, recordings)
    return f"{status}: recorded, not equalled" if status == "derived" else status


def _name(operation: str) -> str:
    return operation.removeprefix("ttnn.")


def _joined(ways: Iterable[str]) -> str:
    return "<br>".join(way or "any" for way in ways) if any(ways) else ""


def write(tables: Iterable[Sequence[str]], measured: Iterable[Measured]) -> None:
    """The settings into their file, the tables of text and the note into the README."""
    recordings = settings_of(measured)
    evidence.FILE.write_text(json.dumps(recordings, indent=1, sort_keys=True) + "\n")
    evidence.recorded.cache_clear()
    apart = [line for lines_ in tables for line in ("", *lines_)][1:]
    fenced = ["```", *apart, "```"]
    text = _placed(README.read_text(), "fidelity", fenced)
    README.write_text(_placed(text, "evidence", current()))


def current() -> list[str]:
    """The note as the committed settings and the arithmetic have it."""
    return lines(evidence.recorded(), evidence.unrecorded(), evidence.approximations())


def _placed(text: str, name: str, content: Iterable[str]) -> str:
    first, last = f"<!-- {name} -->", f"<!-- end of {name} -->"
    if text.count(first) != 1 or text.count(last) != 1:
        raise ValueError(f"{README} has no place for {name}: {first} and {last}, once each.")
    whole = "\n".join([first, *content, last])
    return re.sub(f"{first}.*{last}", lambda _: whole, text, flags=re.DOTALL)
