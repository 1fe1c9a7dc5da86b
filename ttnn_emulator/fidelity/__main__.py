"""How near the emulation is to recorded kernels: `python -m ttnn_emulator.fidelity`.

Every recorded call is made again. Beside the share of equal bits the table has the largest
distance in units in the last place of the output's format; the distance to the kernels relative to
the kernels' own error, |ours - theirs| / |theirs - exact|; and the correlation of our error with
theirs, all of the worst case of a row. Elements that a kernel leaves undefined are counted and not
compared.
"""

import argparse
import datetime
import importlib.metadata
import math
import pathlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

import ttnn_emulator
from ttnn_emulator.fidelity import note, recordings
from ttnn_emulator.fidelity.figures import Limit, ReplayFigures
from ttnn_emulator.fidelity.measure import measure_all
from ttnn_emulator.fidelity.replay import RECORDED_CORES

EXACT = Limit(1.0)


class TableRow(NamedTuple):
    """A line of the table: recordings of a `family` whose op ends in one of `words`, "" for any."""

    title: str
    family: str
    words: tuple[str, ...]
    limit: Limit


# A recording is in the first row that has its family and its op's last word.
ROWS = (
    TableRow("data movement", "data_movement", ("",), EXACT),
    TableRow("embedding", "embedding", ("",), EXACT),
    TableRow("heads", "heads", ("",), EXACT),
    TableRow("caches", "cache", ("",), EXACT),
    TableRow("block formats, typecast", "quant", ("",), EXACT),
    TableRow("linear, matmul", "matmul", ("",), EXACT),
    TableRow("pow", "binary", ("pow",), EXACT),
    TableRow("add, subtract, multiply, divide", "binary", ("",), EXACT),
    TableRow("sum, mean, max, argmax", "reduce", ("",), EXACT),
    TableRow("rotary", "rotary", ("",), EXACT),
    TableRow("functions of one value", "unary", ("",), EXACT),
    TableRow("rms_norm, layer_norm", "norm", ("",), EXACT),
    TableRow("softmax", "softmax", ("",), EXACT),
    TableRow("swiglu", "swiglu", ("",), EXACT),
    TableRow("attention, prefill", "sdpa", ("",), EXACT),
    TableRow("attention, decode", "sdpa_decode", ("",), EXACT),
    TableRow("all_gather", "all_gather", ("",), EXACT),
    TableRow("all_reduce", "all_reduce", ("",), EXACT),
    TableRow("reduce_scatter", "reduce_scatter", ("",), EXACT),
    TableRow("async collectives", "async", ("",), EXACT),
    TableRow("broadcast, partition, send", "movement", ("",), EXACT),
)


# --- the table -----------------------------------------------------------------------------------

HEADINGS = (
    *("family", "cases", "elements", "equal %", "padding %", "undefined", "ULP", "distance"),
    *("correlation", "limit", ""),
)


def row_of(case: recordings.Case) -> TableRow:
    """The line of `ROWS` that a case belongs to."""
    word = case.op.split(".")[-1]
    for row in ROWS:
        if row.family == case.family and (word in row.words or "" in row.words):
            return row
    raise ValueError(f"{case}: the table has no row for recordings of the family {case.family!r}.")


def table(results: Sequence[note.Measured], each_case: bool = False) -> tuple[list[str], bool]:
    """Lines of text, and whether every limit is kept, from the list that `measure_all` returns."""
    lines: list[tuple[str, ...]] = [HEADINGS]
    kept = True
    for row in ROWS:
        of_row = [(case, figures) for case, figures, _ in results if row_of(case) == row]
        if not of_row:
            continue
        total = sum((figures for _, figures in of_row), ReplayFigures())
        met = total.meets(row.limit)
        kept &= met
        cells = _cells(row.title, str(len({case.path for case, _ in of_row})), total)
        lines.append((*cells, str(row.limit), "met" if met else "not met"))
        if each_case:
            lines += [(*_cells(f"  {case}", "", figures), "", "") for case, figures in of_row]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADINGS))]
    left = (0, len(HEADINGS) - 2, len(HEADINGS) - 1)
    return [
        "  ".join(
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ], kept


def _cells(title: str, count: str, figures: ReplayFigures) -> tuple[str, ...]:
    if not figures.elements:
        return title, count, *("-",) * 7
    return (
        title,
        count,
        str(figures.elements),
        _percent(figures.share),
        _percent(figures.padding_share) if figures.padding else "-",
        str(figures.undefined or "-"),
        f"{figures.ulp:.4g}",
        "-" if figures.distance is None else f"{figures.distance:.4f}",
        "-" if figures.correlation is None else f"{figures.correlation:.4f}",
    )


def _percent(share: float) -> str:
    return f"{math.floor(share * 1e5) / 1e3:.3f}"  # never 100 unless all are equal


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ttnn_emulator.fidelity",
        description="Make recorded calls of TTNN's kernels again; tell how near the results are.",
        epilog="Exit status: 0 if every limit is kept, 1 if not, 2 for bad input.",
    )
    add = parser.add_argument
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--set", choices=recordings.SETS, help="one of the project's own; default all"
    )
    which.add_argument("--recordings", type=pathlib.Path, metavar="FOLDER", help="another set")
    add("--arithmetic", choices=ttnn_emulator.ARITHMETICS, default=ttnn_emulator.DEFAULT_ARITHMETIC)
    add("--family", nargs="+", metavar="NAME", help="only these families")
    add("--cases", action="store_true", help="a line for every case too")
    which.add_argument(
        "--write",
        action="store_true",
        help="put the tables and the note of what is recorded in place",
    )
    return parser


def _folders(options: argparse.Namespace) -> list[pathlib.Path]:
    if options.recordings:
        return [options.recordings]
    return [recordings.FOLDER / name for name in recordings.SETS if options.set in (None, name)]


def _selected(
    folders: Sequence[pathlib.Path], families: Sequence[str] | None
) -> list[list[recordings.Case]]:
    """Lists of the cases to replay, one for each folder that has some; raises ValueError."""
    for folder in folders:
        if not (folder / "index.json").is_file():
            raise ValueError(f"{folder} has no index.json; give a folder of recordings.")
    sets = [recordings.cases_of(folder) for folder in folders]
    known = sorted({case.family for cases in sets for case in cases})
    if unknown := sorted(set(families or ()) - set(known)):
        raise ValueError(f"no recordings of {', '.join(unknown)}; there are {', '.join(known)}.")
    for case in (case for cases in sets for case in cases):
        row_of(case)
    selected = [
        [case for case in cases if not families or case.family in families] for cases in sets
    ]
    return [cases for cases in selected if cases]


def _heading(cases: Sequence[recordings.Case], arithmetic: str) -> str:
    (folder,) = {case.folder.name for case in cases}
    return (
        f"{folder}: {len(cases)} recorded calls, arithmetic {arithmetic}, "
        f"{' x '.join(map(str, RECORDED_CORES))} cores, "
        f"ttnn {importlib.metadata.version('ttnn')}, {datetime.date.today()}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = _parser()
    options = parser.parse_args(argv)
    if options.write and (options.family or options.arithmetic != "kernel"):
        parser.exit(2, "error: --write is of all recordings and of the kernel arithmetic.\n")
    try:
        selected = _selected(_folders(options), options.family)
    except ValueError as error:
        parser.exit(2, f"error: {error}\n")
    tables: list[list[str]] = []
    measured: list[note.Measured] = []
    all_kept = True
    for cases in selected:
        results, refusals = measure_all(cases, options.arithmetic)
        lines, kept = table(results, options.cases)
        lines = [_heading(cases, options.arithmetic), *lines, *refusals]
        print(*([""] if tables else []), *lines, sep="\n")
        tables.append(lines)
        measured += results
        all_kept &= kept
    if options.write:
        note.write(tables, measured)
    return 0 if all_kept else 1


if __name__ == "__main__":
    sys.exit(main())
