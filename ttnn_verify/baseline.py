"""PCC regression: the figures of every comparison of a run, kept in a file and compared with another's.

A baseline belongs to a backend, its arithmetic and a version of TTNN; it is one JSON file with a line
per case. What counts as lost is said in `Limits`.

`python -m ttnn_verify.baseline diff A B` lists what differs from A to B.
"""

import argparse
import dataclasses
import datetime
import importlib.metadata
import json
import math
import pathlib
import re
import sys

from ttnn_verify import atomic, backend

# The PCC that a case may lose: what an error of 3 % of the tensor costs. `ERROR_SLACK` is the finer
# judge. November 2026, as is the next.
PCC_SLACK = 0.0005

# The share by which relative L2 may rise, as a whole and in the worst row. PCC near 1 hides nearly
# everything: an error grown from 0.3 % to 3 % of the tensor costs 0.00045 of it. On the emulated device
# figures repeat but for the reference's float32 sums, which another processor adds in another order: a
# few elements then round to the other side. An error added to an honest one as squares is 46 % of it
# when the whole has grown by 10 %.
ERROR_SLACK = 0.10

# Relative L2 errors closer than this are alike: the resolution of the reference in float32 (2^-24 an
# element), with room for sums of some hundred of them.
RESOLUTION = 1e-6


class BaselineError(ValueError):
    """A baseline that cannot be read, or is not one for this run; the message says why."""


@dataclasses.dataclass(frozen=True)
class Platform:
    """What figures depend on: the backend, how it computes (None: its own way), TTNN's version."""

    backend: str
    arithmetic: str | None
    ttnn: str

    @classmethod
    def of(cls, picked, arithmetic):
        """The platform of a run on a backend that `backend.pick` returned."""
        own = arithmetic or backend.ARITHMETICS[0] if picked == "emulated" else None
        return cls(picked, own, importlib.metadata.version("ttnn"))

    @property
    def file_name(self):
        return "-".join(filter(None, (self.backend, self.arithmetic))) + ".json"

    def __str__(self):
        return f"{backend.described(self.backend, self.arithmetic)}, ttnn {self.ttnn}"


@dataclasses.dataclass(frozen=True)
class Figures:
    """What is kept of a comparison; None for what it does not have.

    ulp, the greatest, and used, the share of the tolerance, are there to be read; the others are checked.
    """

    pcc: float | None
    relative_l2: float | None
    worst_row: float | None
    ulp: float | None
    used: float | None

    @classmethod
    def of(cls, entry):
        """From `summary.entry`, rounded to what is worth keeping."""
        return cls(
            pcc=None if entry["pcc"] is None else _finite(round(entry["pcc"], 9)),
            **{
                name: _digits(entry.get(name))
                for name in ("relative_l2", "worst_row", "ulp", "used")
            },
        )


def _digits(value, digits=4):
    return None if value is None else _finite(float(f"{value:.{digits}g}"))


def _finite(value):
    return value if math.isfinite(value) else None


@dataclasses.dataclass(frozen=True)
class Relaxation:
    """Figures that a case may have until a day, that one included, though they are worse than its own."""

    reason: str
    until: datetime.date
    pcc: float | None = None
    relative_l2: float | None = None
    worst_row: float | None = None


@dataclasses.dataclass(frozen=True)
class Baseline:
    """The figures of a run by case, and the relaxations that people have written into the file."""

    platform: Platform
    cases: dict[str, Figures]
    relaxed: dict[str, Relaxation] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Limits:
    """How much worse than its baseline a case may be, and from where on it is better."""

    pcc: float = PCC_SLACK
    error: float = ERROR_SLACK


# Lost more than the slack; relaxed, until a day that is past; lost and relaxed; better by more than the
# slack, which wants an explanation too; the same error under a wider tolerance.
KINDS = ("lost", "expired", "relaxed", "rose", "widened")


@dataclasses.dataclass(frozen=True)
class Finding:
    """What became of a case, one of `KINDS`, and the figures in a line."""

    kind: str
    case: str
    line: str

    @property
    def failed(self):
        return self.kind in ("lost", "expired")

    def __str__(self):
        return f"{self.case}: {self.line}"


def names(nodeid, entries):
    """The case of each of a test's entries: its node id, and the entry's own name if that says more.

    A name that comes again is numbered.
    """
    parameters = nodeid.partition("[")[2].removesuffix("]")
    found = []
    for entry in entries:
        own = entry["case"].removeprefix(parameters).strip()
        case = f"{nodeid} | {own}" if own else nodeid
        times = sum(name == case or name.startswith(f"{case} #") for name in found)
        found.append(f"{case} #{times + 1}" if times else case)
    return found


def node(case):
    """The node id of a case that `names` named."""
    return re.sub(r" #\d+$", "", case.partition(" | ")[0])


def judge(case, was, now, limits=Limits(), relaxation=None, today=None):
    """What became of a case since its baseline, as a `Finding`; None if nothing did.

    Args:
        was, now: `Figures`.
        relaxation: the case's `Relaxation`.
        today: the day that relaxations are held against, by default this one.
    """
    if relaxation and (today or datetime.date.today()) > relaxation.until:
        line = f"relaxed until {relaxation.until} ({relaxation.reason}), which has passed; {both(was, now)}"
        return Finding("expired", case, line)
    if _worse(was, now, limits):
        eased = relaxation and dataclasses.replace(
            was,
            **{
                name: getattr(relaxation, name)
                for name in ("pcc", "relative_l2", "worst_row")
                if getattr(relaxation, name) is not None
            },
        )
        if eased and not _worse(eased, now, limits):
            line = f"{both(was, now)}; relaxed until {relaxation.until}: {relaxation.reason}"
            return Finding("relaxed", case, line)
        return Finding("lost", case, both(was, now))
    if _worse(now, was, limits):
        return Finding("rose", case, both(was, now))
    if _widened(was, now, limits):
        used = f"{_figure(now.used)} of its tolerance, the baseline {_figure(was.used)}"
        return Finding("widened", case, f"used {used}; its error did not fall with it")
    return None


def _worse(was, now, limits):
    """Whether `now` lost more than the slack in one of the figures that are checked."""
    if None not in (was.pcc, now.pcc) and now.pcc < was.pcc - limits.pcc:
        return True
    pairs = (was.relative_l2, now.relative_l2), (was.worst_row, now.worst_row)
    return any(
        None not in pair and pair[1] > pair[0] * (1 + limits.error) + RESOLUTION for pair in pairs
    )


def _widened(was, now, limits):
    """Whether the tolerance has grown: a smaller share of it holds the same error."""
    if was.used is None or now.used is None:
        return was.used != now.used and now.used is not None  # equal bits are no longer asked for
    return all(
        None not in (error, before)
        and error > RESOLUTION
        and was.used * error > now.used * before * (1 + limits.error)
        for error, before in (
            (now.relative_l2, was.relative_l2),
            (now.worst_row, was.worst_row),
        )
    )


def both(was, now):
    """Each checked figure that differs, now and in the baseline, in a line."""
    shown = {"pcc": "PCC", "relative_l2": "relative L2", "worst_row": "worst row"}
    parts = [
        f"{name} {_figure(getattr(now, field))}, the baseline has {_figure(getattr(was, field))}"
        for field, name in shown.items()
        if getattr(now, field) != getattr(was, field)
    ]
    return "; ".join(parts) or "the same figures"


def _figure(value):
    return "none" if value is None else f"{value:.9g}"


def updated(baseline, now, gone, limits):
    """The baseline with what rose, what is new and without what vanished; nothing in it gets worse.

    Args:
        now: case -> `Figures` of the run's passed cases.
        gone: the cases that have vanished.
    """
    cases = {case: figures for case, figures in baseline.cases.items() if case not in gone}
    for case, figures in now.items():
        was = cases.get(case)
        finding = was and judge(case, was, figures, limits)
        if was is None or (finding and finding.kind in ("rose", "widened")):
            cases[case] = figures
    relaxed = {case: one for case, one in baseline.relaxed.items() if case not in gone}
    return dataclasses.replace(baseline, cases=cases, relaxed=relaxed)


def load(path):
    """The baseline in a file.

    Raises:
        BaselineError: there is none, or it does not hold what a baseline holds.
    """
    try:
        data = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        platform = Platform(**data.pop("platform"))
        cases = {case: _figures(line) for case, line in data.pop("cases").items()}
        relaxed = {case: _relaxation(case, line) for case, line in data.pop("relaxed").items()}
    except OSError as error:
        raise BaselineError(f"baseline {path}: {error.strerror}.") from error
    except BaselineError as error:
        raise BaselineError(f"baseline {path}: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BaselineError(
            f"baseline {path}: {type(error).__name__}: {error}; write one with --pcc-record."
        ) from error
    unknown = sorted(relaxed.keys() - cases.keys())
    if unknown:
        raise BaselineError(f"baseline {path} relaxes {unknown[0]!r}, which is none of its cases.")
    return Baseline(platform, cases, relaxed)


def _figures(line):
    fields = {field.name: line.pop(field.name, None) for field in dataclasses.fields(Figures)}
    wrong = [*line, *(n for n, v in fields.items() if not isinstance(v, (int, float, type(None))))]
    if wrong:
        raise BaselineError(f"a case's {wrong[0]!r} is no figure of a comparison.")
    return Figures(**fields)


def _relaxation(case, line):
    if not str(line.get("reason") or "").strip() or "until" not in line:
        raise BaselineError(
            f'the relaxation of {case!r} needs a "reason" and the last day it holds, "until".'
        )
    if not any(line.get(name) for name in ("pcc", "relative_l2", "worst_row")):
        raise BaselineError(
            f'the relaxation of {case!r} says no figure that is allowed: "pcc", "relative_l2" or '
            '"worst_row".'
        )
    return Relaxation(**{**line, "until": datetime.date.fromisoformat(line["until"])})


def check_platform(baseline, path, platform):
    """Raises BaselineError unless the baseline was recorded on such a platform."""
    if baseline.platform != platform:
        raise BaselineError(
            f"baseline {path} is of {baseline.platform}; this run is on {platform}: record one for it "
            "with --pcc-record."
        )


def save(path, baseline):
    """Write the file in one step: sorted, a line per case."""
    relaxed = {
        case: {**_present(one), "until": one.until.isoformat()}
        for case, one in baseline.relaxed.items()
    }
    cases = {case: _present(figures) for case, figures in baseline.cases.items()}
    platform = json.dumps(dataclasses.asdict(baseline.platform))
    text = f'{{\n"platform": {platform},\n"cases": {_by_line(cases)},\n"relaxed": {_by_line(relaxed)}\n}}\n'
    atomic.write_text(path, text)


def _present(one):
    return {name: value for name, value in dataclasses.asdict(one).items() if value is not None}


def _by_line(cases):
    lines = [f"{json.dumps(case)}: {json.dumps(cases[case])}" for case in sorted(cases)]
    return "{\n" + ",\n".join(lines) + "\n}" if lines else "{}"


def diff(a, b, limits=Limits()):
    """(kind, line) of what differs from baseline `a` to `b`: lost, rose, new, vanished."""
    for case in sorted(a.cases.keys() | b.cases.keys()):
        if case not in b.cases:
            yield "vanished", case
        elif case not in a.cases:
            yield "new", case
        else:
            finding = judge(case, a.cases[case], b.cases[case], limits)
            if finding:
                yield finding.kind, str(finding)


def main(args=None):
    """Returns the exit status: 0 nothing lost, 1 a case has lost, 2 the files do not compare."""
    parser = argparse.ArgumentParser(prog="python -m ttnn_verify.baseline", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("diff", help="what differs from A to B; exit status 1 if B lost")
    command.add_argument("a", metavar="A", help="a file of --pcc-record, or a baseline")
    command.add_argument("b", metavar="B")
    command.add_argument("--pcc-slack", type=float, default=PCC_SLACK)
    command.add_argument("--pcc-error-slack", type=float, default=ERROR_SLACK)
    options = parser.parse_args(args)
    try:
        a, b = load(options.a), load(options.b)
    except BaselineError as error:
        print(error, file=sys.stderr)
        return 2
    if a.platform != b.platform:
        print(f"A is of {a.platform}\nB is of {b.platform}")
    found = list(diff(a, b, Limits(options.pcc_slack, options.pcc_error_slack)))
    for kind, line in found:
        print(f"{kind:9} {line}")
    kinds = [kind for kind, _ in found]
    counts = ", ".join(
        f"{kinds.count(kind)} {kind}" for kind in ("lost", "rose", "widened", "new", "vanished")
    )
    print(f"{len(a.cases)} cases in A, {len(b.cases)} in B: {counts}")
    return int("lost" in kinds)


if __name__ == "__main__":
    sys.exit(main())
