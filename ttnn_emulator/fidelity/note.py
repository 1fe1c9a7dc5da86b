"""The note of what was recorded and what only derived, and the tables of fidelity, in the README.

`write` keeps the recordings' settings in `recordings/evidence.json`, which live runs are judged by,
and puts everything else between marks of `ttnn_emulator/README.md`.
"""

import json
import pathlib
import re

from ttnn_emulator import evidence

README = pathlib.Path(__file__).parents[1] / "README.md"


def settings_of(measured):
    """operation -> setting -> {"equal": paths, "unequal": paths}, from `__main__.measure`'s results."""
    found = {}
    for case, figures, of_call in measured:
        if of_call is not None:
            setting = found.setdefault(of_call.operation, {}).setdefault(of_call.setting, {})
            kind = "equal" if equal(figures) else "unequal"
            setting.setdefault(kind, []).append(case.path)
    return found


def equal(figures):
    """Whether every defined element of a replayed call, padding included, has the recorded bits."""
    same = figures.equal == figures.elements and figures.padding_equal == figures.padding
    return same and not figures.refused


def lines(recorded, unrecorded, approximations):
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
        "`derived` otherwise: every other setting of the operations of the table, and all settings of",
        f"those of which nothing was recorded: {', '.join(map(_name, unrecorded))}.",
    ]


def _grouped(recorded):
    """(operation, formats, evidence) -> (other words of its settings, number of recordings)."""
    grouped = {}
    for operation, settings in sorted(recorded.items()):
        for setting, found in sorted(settings.items()):
            formats, _, way = setting.partition("; ")
            key = operation, formats, _status(setting, found)
            ways, count = grouped.get(key, ((), 0))
            count += len(found.get("equal", ())) + len(found.get("unequal", ()))
            grouped[key] = (*ways, way), count
    return grouped


def _status(setting, found):
    approximate = set(evidence.approximations()) & set(setting.split("; "))
    status = evidence.status_of(approximate, found)
    return f"{status}: recorded, not equalled" if status == "derived" else status


def _name(operation):
    return operation.removeprefix("ttnn.")


def _joined(ways):
    return "<br>".join(way or "any" for way in ways) if any(ways) else ""


def write(tables, measured):
    """The settings into their file, the tables of text and the note into the README."""
    found = settings_of(measured)
    evidence.FILE.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    evidence.recorded.cache_clear()
    fenced = ["```", *(line for lines_ in tables for line in (*lines_, ""))][:-1] + ["```"]
    text = _placed(README.read_text(), "fidelity", fenced)
    README.write_text(_placed(text, "evidence", current()))


def current():
    """The note as the committed settings and the arithmetic have it."""
    return lines(evidence.recorded(), evidence.unrecorded(), evidence.approximations())


def _placed(text, name, content):
    first, last = f"<!-- {name} -->", f"<!-- end of {name} -->"
    if text.count(first) != 1 or text.count(last) != 1:
        raise ValueError(f"{README} has no place for {name}: {first} and {last}, once each.")
    whole = "\n".join([first, *content, last])
    return re.sub(f"{first}.*{last}", lambda _: whole, text, flags=re.DOTALL)
