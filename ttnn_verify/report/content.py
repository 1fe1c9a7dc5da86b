"""What the page shows, as plain values: from the run, its baseline and the machine."""

import collections
import dataclasses
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import re
import subprocess

from ttnn_verify import baseline

# From the top of the pyramid down; below the line the tools' own tests.
PYRAMID = ("e2e", "layers", "ops", "properties")
TOOLS = ("emulator", "verify", "faults")
OTHER = "other"

PACKAGES = ("ttnn", "torch", "transformers", "numpy", "pytest")

HISTOGRAMS = 12  # of the worst cases

BAD = ("failed", "error")


@dataclasses.dataclass(frozen=True)
class Tier:
    """A tier's tests and comparisons: counts, seconds, and the worst figures."""

    name: str
    outcomes: dict[str, int]
    seconds: float
    comparisons: int
    pcc: float | None
    used: float | None

    @property
    def tests(self):
        return sum(self.outcomes.values())

    @property
    def passed(self):
        return self.outcomes.get("passed", 0) + self.outcomes.get("xfailed", 0)

    @property
    def failed(self):
        return sum(self.outcomes.get(name, 0) for name in (*BAD, "xpassed"))

    @property
    def skipped(self):
        return self.outcomes.get("skipped", 0)


@dataclasses.dataclass(frozen=True)
class Row:
    """A comparison: its case and tier, its entry (see `summary.entry`), its figures in the baseline."""

    case: str
    tier: str
    entry: dict
    was: baseline.Figures | None

    @property
    def ratio(self):
        """Its relative L2 in terms of the baseline's; None where there is nothing to compare."""
        now, was = self.entry.get("relative_l2"), self.was and self.was.relative_l2
        if now is None or was is None:
            return None
        return now / was if was else (1.0 if now == 0 else math.inf)


def tier_of(nodeid):
    """tests/<tier>/... -> the tier's name."""
    parts = nodeid.partition("::")[0].split("/")
    return next((part for part in parts if part in PYRAMID + TOOLS), OTHER)


def tiers(done):
    """A `Tier` for each that has tests, from the top of the pyramid down."""
    by_name = collections.defaultdict(list)
    for result in done.tests.values():
        by_name[tier_of(result.nodeid)].append(result)
    return [_tier(name, by_name[name]) for name in (*PYRAMID, *TOOLS, OTHER) if by_name[name]]


def _tier(name, results):
    entries = [entry for result in results for entry in result.entries]
    pccs = [entry["pcc"] for entry in entries if entry["pcc"] is not None]
    used = [entry["used"] for entry in entries if entry["used"] is not None]
    return Tier(
        name,
        dict(collections.Counter(result.outcome for result in results)),
        sum(result.seconds for result in results),
        len(entries),
        min(pccs, default=None),
        max(used, default=None),
    )


def total(done):
    """All tests as one `Tier`."""
    return _tier("all", list(done.tests.values()))


def rows(done, check):
    """A `Row` for each comparison, those that used most of their tolerance first."""
    known = check.baseline.cases if check else {}
    found = [
        Row(case, tier_of(result.nodeid), entry, known.get(case))
        for result in done.tests.values()
        for case, entry in zip(
            baseline.names(result.nodeid, result.entries), result.entries, strict=True
        )
    ]
    return sorted(found, key=lambda row: (-_badness(row.entry), row.case))


def _badness(entry):
    """What orders comparisons from the worst on: those that failed, then by the share used."""
    if not entry["passed"]:
        return math.inf
    return -1.0 if entry["used"] is None else entry["used"]


def worst(found):
    """The first `HISTOGRAMS` rows that have a histogram, one of each op first."""
    having = [row for row in found if row.entry.get("histogram") and row.entry.get("relative_l2")]
    first = {}
    for row in having:
        first.setdefault(row.entry["op"], row)
    chosen = list(first.values())[:HISTOGRAMS]
    rest = [row for row in having if row not in chosen]
    return chosen + rest[: HISTOGRAMS - len(chosen)]


def failures(done):
    """The results that failed, as they ran."""
    return [result for result in done.tests.values() if result.outcome in (*BAD, "xpassed")]


def depth(found):
    """name -> [(layer, relative L2)] of the layer tier's comparisons that say their layer.

    Of several of a layer under one name the greatest error counts.
    """
    series = {}
    for row in found:
        layer = re.search(r"\blayers?[ ._-]?(\d+)", row.entry["case"])
        error = row.entry.get("relative_l2")
        if row.tier == "layers" and layer and error:
            name = row.entry["op"].removeprefix("layers.")
            points = series.setdefault(name, {})
            number = int(layer[1])
            points[number] = max(error, points.get(number, 0.0))
    return {name: sorted(points.items()) for name, points in series.items() if len(points) > 1}


@dataclasses.dataclass(frozen=True)
class Drift:
    """A report of ttnn_verify.drift: its verdict, and errors over depth as `depth` gives them."""

    verdict: str
    series: dict[str, list[tuple[int, float]]]


def drift(path):
    """What a JSON file of ttnn_verify.drift says.

    Its table over depth is the first list in it of rows that have a layer of their own, as their
    "layer" or by the "name" `layer 3`; rows without, as of the embedding, are passed over. Each figure
    that is an error is a series, by its name. Unknown keys do no harm.

    Raises:
        ValueError: the file cannot be read.
    """
    try:
        data = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"drift report {path}: {error}") from error
    series = collections.defaultdict(list)
    for layer, row in _over_layers(data):
        for name, value in _numbers(row):
            if not NO_ERROR.intersection(name.split()):
                series[name].append((layer, value))
    top = data if isinstance(data, dict) else {}
    verdict = next((str(top[key]) for key in ("line", "verdict", "summary") if top.get(key)), "")
    return Drift(verdict, {name: points for name, points in series.items() if len(points) > 1})


# Figures over depth that are no relative L2 errors.
NO_ERROR = {"layer", "pcc", "gain"}


def _over_layers(data):
    """(layer, row) of the first list of rows with a layer each; empty if there is none.

    A finding, which has a "status", is no such row.
    """
    values = list(data.values()) if isinstance(data, dict) else data
    if not isinstance(values, list):
        return []
    rows = [row for row in values if isinstance(row, dict) and "status" not in row]
    layers = {_layer(row): row for row in rows if _layer(row) is not None}
    if len(layers) > 1:
        return sorted(layers.items())
    return next(filter(None, map(_over_layers, values)), [])


def _layer(row):
    if isinstance(row.get("layer"), int):
        return row["layer"]
    named = re.fullmatch(r"layers?[ .](\d+)", str(row.get("name", "")))
    return int(named[1]) if named else None


def _numbers(row, prefix=""):
    """(name, value) of the finite numbers of an object and of the objects in it."""
    for name, value in row.items():
        full = f"{prefix} {name}".strip()
        if isinstance(value, dict):
            yield from _numbers(value, full)
        elif isinstance(value, (int, float)) and math.isfinite(value):
            yield full, float(value)


def versions():
    """name -> version of Python and of what the figures depend on."""
    found = {"Python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def processor():
    """The processor's name and how many there are of it."""
    name = platform.processor() or platform.machine()
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
        name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)[1]
    except (OSError, TypeError):
        pass
    return f"{os.cpu_count()} x {name}"


def commit(folder):
    """The folder's git commit, with a + if its files have changed since; empty without git."""
    try:
        ran = subprocess.run(
            ["git", "describe", "--always", "--abbrev=10", "--dirty=+", "--exclude=*"],
            cwd=folder,
            check=False,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ran.stdout.strip() if ran.returncode == 0 else ""
