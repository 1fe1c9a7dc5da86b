"""How near the emulation is to recorded kernels: `python -m emulator.fidelity`.

Every recorded call is made again. Beside the share of equal bits the table has the largest distance
in units in the last place of the output's format; the distance to the kernels relative to the
kernels' own error, |ours - theirs| / |theirs - exact|; and the correlation of our error with theirs,
all of the worst case of a row. Elements that a kernel leaves undefined are counted and not compared.
"""

import argparse
import dataclasses
import datetime
import importlib.metadata
import math
import pathlib
import sys

import torch

import emulator
from emulator.arithmetic import formats
from emulator.fidelity import recordings
from emulator.fidelity.recorded_call import NotReplayable
from emulator.fidelity.references import defined, exact
from emulator.fidelity.replay import RECORDED_CORES, replay


@dataclasses.dataclass(frozen=True)
class Limit:
    """What a row of the table must keep; None is no limit."""

    share: float
    ulp: float | None = None
    distance: float | None = None
    correlation: float | None = None

    def __str__(self):
        parts = [f"{100 * self.share:g} %"]
        parts += [] if self.ulp is None else [f"{self.ulp:g} ULP"]
        parts += [] if self.distance is None else [f"distance {self.distance:g}"]
        parts += [] if self.correlation is None else [f"correlation {self.correlation:g}"]
        return ", ".join(parts)


EXACT = Limit(1.0)
MATRIX_UNIT = Limit(0.999, ulp=1)
VECTOR_UNIT = Limit(0.99, ulp=1)
NORM = Limit(0.97, distance=0.05)
ATTENTION = Limit(0.90, distance=0.10, correlation=0.98)

ROOTS = ("reciprocal", "relu", "rsqrt", "sqrt")
ACTIVATIONS = ("exp", "gelu", "sigmoid", "silu", "tanh")

# title, family of recordings, last word of the ops ("" is every other op of the family), limit
ROWS = (
    ("data movement", "data_movement", ("",), EXACT),
    ("embedding", "embedding", ("",), EXACT),
    ("heads", "heads", ("",), EXACT),
    ("caches", "cache", ("",), EXACT),
    ("block formats, typecast", "quant", ("",), EXACT),
    ("linear, matmul", "matmul", ("",), MATRIX_UNIT),
    ("divide", "binary", ("divide",), VECTOR_UNIT),
    ("add, subtract, mul", "binary", ("",), MATRIX_UNIT),
    ("sum, mean, max, argmax", "reduce", ("",), MATRIX_UNIT),
    ("rotary", "rotary", ("",), MATRIX_UNIT),
    (", ".join(ROOTS), "unary", ROOTS, MATRIX_UNIT),
    (", ".join(ACTIVATIONS), "unary", ACTIVATIONS, VECTOR_UNIT),
    ("other functions", "unary", ("",), VECTOR_UNIT),
    ("rms_norm", "norm", ("",), NORM),
    ("softmax", "softmax", ("",), NORM),
    ("swiglu", "swiglu", ("",), NORM),
    ("attention, prefill", "sdpa", ("",), ATTENTION),
    ("attention, decode", "sdpa_decode", ("",), ATTENTION),
)


@dataclasses.dataclass(frozen=True)
class Figures:
    """Comparison of replayed outputs with recorded ones; `+` joins those of several.

    Attributes:
        elements, equal: defined elements within the logical shape, and those equal bit for bit.
        padding, padding_equal: the same of the tile padding, where it was recorded.
        undefined: elements that were not compared.
        ulp: largest distance, in units in the last place of the output's format.
        distance: to the kernels, relative to the kernels' error; None where that is zero in both.
        correlation: of our error with the kernels'; None where there is no error.
        refused: calls that could not be made.
    """

    elements: int = 0
    equal: int = 0
    padding: int = 0
    padding_equal: int = 0
    undefined: int = 0
    ulp: float = 0.0
    distance: float | None = None
    correlation: float | None = None
    refused: int = 0

    def __add__(self, other):
        def both(name):
            return [v for v in (getattr(self, name), getattr(other, name)) if v is not None]

        counts = ("elements", "equal", "padding", "padding_equal", "undefined", "refused")
        return Figures(
            **{name: sum(both(name)) for name in counts},
            ulp=max(both("ulp")),
            distance=max(both("distance"), default=None),
            correlation=min(both("correlation"), default=None),
        )

    @property
    def share(self):
        return self.equal / self.elements if self.elements else 1.0

    @property
    def padding_share(self):
        return self.padding_equal / self.padding if self.padding else 1.0

    def meets(self, limit):
        """Whether every figure keeps its limit; padding has that of the other elements."""
        return (
            not self.refused
            and min(self.share, self.padding_share) >= limit.share
            and (limit.ulp is None or self.ulp <= limit.ulp)
            and (limit.distance is None or (self.distance or 0.0) <= limit.distance)
            and (
                limit.correlation is None
                or self.correlation is None
                or self.correlation >= limit.correlation
            )
        )


def compare(case, made):
    """Figures of one case's replayed outputs: dict output name -> tensor of the recorded shape."""
    return sum((_compared(case, name, values) for name, values in made.items()), Figures())


def _compared(case, name, ours):
    entry = case.tensors[name]
    theirs = case.tensor(name, padded=entry.get("stored") == "padded")
    counts = defined(case, name)
    inside = torch.zeros_like(counts)
    logical = tuple(slice(0, size) for size in entry["shape"])
    inside[logical] = True
    same = _pattern(ours) == _pattern(theirs)
    distance, correlation = None, None
    reference = exact(case, name)
    if reference is not None:
        errors = (x[logical].double() - reference for x in (ours, theirs))
        distance, correlation = _errors(*errors, counts[logical])
    apart = ulps(ours, theirs, entry["dtype"])[counts & inside]
    return Figures(
        elements=int((counts & inside).sum()),
        equal=int((same & counts & inside).sum()),
        padding=int((counts & ~inside).sum()),
        padding_equal=int((same & counts & ~inside).sum()),
        undefined=int((~counts).sum()),
        ulp=apart.max().item() if apart.numel() else 0.0,
        distance=distance,
        correlation=correlation,
    )


def _errors(ours, theirs, counts):
    """Distance and correlation of two errors, where both are finite."""
    counts = counts & ours.isfinite() & theirs.isfinite()
    ours, theirs = ours[counts], theirs[counts]
    apart, size = (ours - theirs).norm().item(), theirs.norm().item()
    if not size:
        return (math.inf, 0.0) if apart else (None, None)
    if not apart:
        return 0.0, 1.0
    ours, theirs = ours - ours.mean(), theirs - theirs.mean()
    lengths = (ours.norm() * theirs.norm()).item()
    return apart / size, (ours @ theirs).item() / lengths if lengths else 0.0


def _pattern(values):
    return values.contiguous().view(torch.int32).long()


def ulps(ours, theirs, dtype):
    """[...] float64: distances in units in the last place of a device dtype.

    Floats are numbered in their order, so that neighbours are one apart and the two zeros none; in
    a block the unit is that of its largest recorded value; integers are subtracted.
    """
    if dtype in formats.BLOCK_FORMAT_BITS:
        blocks = theirs.unflatten(-1, (-1, formats.BLOCK)).abs().amax(-1, keepdim=True)
        exponents = torch.frexp(blocks).exponent - formats.BLOCK_FORMAT_BITS[dtype]
        units = torch.ldexp(torch.ones_like(blocks).double(), exponents)
        apart = (ours - theirs).unflatten(-1, (-1, formats.BLOCK)).double().abs() / units
        return torch.where(blocks > 0, apart, (apart != 0).double()).flatten(-2)
    if not ours.dtype.is_floating_point:
        return (ours.long() - theirs.long()).abs().double()
    ours, theirs = (_numbered(x) for x in (ours, theirs))
    return (ours - theirs).abs().double() / (1 if dtype == "float32" else 1 << 16)


def _numbered(values):
    pattern = _pattern(values)
    return torch.where(pattern < 0, -(pattern & 0x7FFFFFFF), pattern)


# --- the table -----------------------------------------------------------------------------------

HEADINGS = ("family", "cases", "elements", "equal %", "padding %", "undefined", "ULP", "distance")
HEADINGS += ("correlation", "limit", "")


def row_of(case):
    """The line of `ROWS` that a case belongs to."""
    word = case.op.split(".")[-1]
    for row in ROWS:
        if row[1] == case.family and (word in row[2] or "" in row[2]):
            return row
    raise ValueError(f"{case}: the table has no row for recordings of the family {case.family!r}.")


def measure(cases, device):
    """Replay every case: list of (case, figures), and a sentence for each that was refused."""
    results, refusals = [], []
    for case in cases:
        try:
            results.append((case, compare(case, replay(case, device))))
        except (NotReplayable, emulator.NotEmulated, RuntimeError, TypeError) as error:
            results.append((case, Figures(refused=1)))
            text = str(error).partition("backtrace:")[0]  # TTNN's own
            sentence = " ".join(text.split()) or type(error).__name__
            refusals.append(sentence if case.name in sentence else f"{case}: {sentence}")
    return results, refusals


def table(results, each_case=False):
    """Lines of text, and whether every limit is kept, from the list that `measure` returns."""
    lines, kept = [HEADINGS], True
    for row in ROWS:
        title, _, _, limit = row
        mine = [(case, figures) for case, figures in results if row_of(case) == row]
        if not mine:
            continue
        total = sum((figures for _, figures in mine), Figures())
        met = total.meets(limit)
        kept &= met
        lines.append((*_cells(title, len(mine), total), str(limit), "met" if met else "not met"))
        if each_case:
            lines += [(*_cells(f"  {case}", "", figures), "", "") for case, figures in mine]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADINGS))]
    left = (0, len(HEADINGS) - 2, len(HEADINGS) - 1)
    return [
        "  ".join(
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ], kept


def _cells(title, count, figures):
    if not figures.elements:
        return title, str(count), *("-",) * 7
    return (
        title,
        str(count),
        str(figures.elements),
        _percent(figures.share),
        _percent(figures.padding_share) if figures.padding else "-",
        str(figures.undefined or "-"),
        f"{figures.ulp:.4g}",
        "-" if figures.distance is None else f"{figures.distance:.4f}",
        "-" if figures.correlation is None else f"{figures.correlation:.4f}",
    )


def _percent(share):
    return f"{math.floor(share * 1e5) / 1e3:.3f}"  # never 100 unless all are equal


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m emulator.fidelity",
        description="Make recorded calls of TTNN's kernels again and tell how near the results are.",
        epilog="Exit status: 0 if every limit is kept, 1 if not, 2 for bad input.",
    )
    parser.add_argument("--recordings", type=pathlib.Path, default=recordings.FOLDER)
    parser.add_argument(
        "--arithmetic", choices=emulator.ARITHMETICS, default=emulator.DEFAULT_ARITHMETIC
    )
    parser.add_argument("--family", nargs="+", metavar="NAME", help="only these families")
    parser.add_argument("--cases", action="store_true", help="a line for every case too")
    return parser


def _wanted(folder, families):
    """The cases to replay; raises ValueError with a sentence that says what is wrong."""
    if not (folder / "index.json").is_file():
        raise ValueError(f"{folder} has no index.json; give a folder of recordings.")
    cases = recordings.all_cases(folder)
    known = sorted({case.family for case in cases})
    if unknown := sorted(set(families or ()) - set(known)):
        raise ValueError(f"no recordings of {', '.join(unknown)}; there are {', '.join(known)}.")
    cases = [case for case in cases if not families or case.family in families]
    for case in cases:
        row_of(case)
    return cases


def main(argv=None):
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        cases = _wanted(options.recordings, options.family)
    except ValueError as error:
        parser.exit(2, f"error: {error}\n")
    with emulator.open_device(arithmetic=options.arithmetic, cores=RECORDED_CORES) as device:
        results, refusals = measure(cases, device)
    print(
        f"{len(cases)} recorded calls, arithmetic {options.arithmetic}, "
        f"{' x '.join(map(str, RECORDED_CORES))} cores, "
        f"ttnn {importlib.metadata.version('ttnn')}, {datetime.date.today()}"
    )
    lines, kept = table(results, options.cases)
    print(*lines, *refusals, sep="\n")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
