"""The page of the emulator's coverage, docs/coverage.md, in Markdown."""

import collections
from collections.abc import Iterable, Iterator, Sequence

from ttnn_emulator import evidence
from ttnn_emulator.coverage.operations import BASES, OperationCoverage

HEAD = """# What the emulator covers

Written by `python -m ttnn_emulator.coverage --write`; a test holds it. Every operation that TTNN
registers is here, with what the results of the `kernel` arithmetic are based on. A basis is that
of the operation's recorded settings or, where nothing is recorded, of a plain call (bfloat16, in
tiles); other settings of it may be derived or approximate. What a run used stands in the report of
`eval.py` and in `ttnn_emulator.found_evidence()`. The settings are listed on
[the emulator's page](../ttnn_emulator/README.md).
"""


def lines(rows: Sequence[OperationCoverage]) -> list[str]:
    """The whole page. `rows` are those of `operations.rows`."""
    counts = collections.Counter(row.basis for row in rows)
    emulated = [row for row in rows if row.basis != "refused"]
    return [
        *HEAD.splitlines(),
        "",
        "| basis | operations | what it says |",
        "|---|---|---|",
        *(f"| {basis} | {counts[basis]} | {text} |" for basis, text in BASES.items()),
        f"| in all | {len(rows)} | |",
        "",
        "An argument that a binding does not name is refused, too, whatever the operation's basis.",
        "",
        "## Emulated",
        "| operation | family | basis | recordings |",
        "|---|---|---|---|",
        *map(_line, emulated),
        "",
        "Approximate in whatever operation it is met:",
        f"{'; '.join(evidence.approximations())}.",
        "",
        "## Recordings",
        "Of each operation, in the sets of `ttnn_emulator/recordings`.",
        "",
        *(f"- `{_short(row)}`: {', '.join(row.recordings)}" for row in rows if row.recordings),
        "",
        "## Refused",
        *_refused(row for row in rows if row.basis == "refused"),
    ]


def _short(row: OperationCoverage) -> str:
    return row.operation.removeprefix("ttnn.")


def _line(row: OperationCoverage) -> str:
    basis = row.basis + (f": {'; '.join(row.approximations)}" if row.approximations else "")
    family = f"`{row.family}`" if row.family else ""
    return f"| `{_short(row)}` | {family} | {basis} | {len(row.recordings) or ''} |"


def _refused(rows: Iterable[OperationCoverage]) -> Iterator[str]:
    """A paragraph for each namespace."""
    spaces = collections.defaultdict(list)
    for row in rows:
        space, _, name = row.operation.rpartition(".")
        spaces[space].append(f"`{name}`")
    for space, names in sorted(spaces.items()):
        yield from ("", f"**{space}** ({len(names)}): {', '.join(names)}.")
