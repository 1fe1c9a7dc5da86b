"""A baseline's file: JSON with a line per case, which people read and add relaxations to."""

import dataclasses
import datetime
import json
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

from ttnn_verify.baseline.cases import (
    CHECKED_FIGURES,
    Baseline,
    CaseFigures,
    Platform,
    Relaxation,
)
from ttnn_verify.files import atomic


class BaselineError(ValueError):
    """A baseline that cannot be read, or is not one for this run; the message says why."""


def load(path: str | pathlib.Path) -> Baseline:
    """The baseline in a file.

    Raises:
        BaselineError: there is no such file, or it is not a baseline.
    """
    try:
        data = _parts(json.loads(pathlib.Path(path).read_text(encoding="utf-8")))
        platform = Platform(**data.pop("platform"))
        cases = {case: _figures(line) for case, line in data.pop("cases").items()}
        relaxed = {case: _relaxation(case, line) for case, line in data.pop("relaxed").items()}
    except OSError as error:
        raise BaselineError(f"baseline {path}: {error.strerror}.") from error
    except BaselineError as error:
        raise BaselineError(f"baseline {path}: {error}") from error
    except RecursionError as error:
        raise BaselineError(f"baseline {path}: brackets within brackets, no figures.") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise BaselineError(f"baseline {path}: {error}; write one with --pcc-record.") from error
    unknown = sorted(relaxed.keys() - cases.keys())
    if unknown:
        raise BaselineError(f"baseline {path} relaxes {unknown[0]!r}, which is none of its cases.")
    return Baseline(platform, cases, relaxed)


PARTS = ("platform", "cases", "relaxed")


def _parts(data: Any) -> dict[str, Any]:
    """What a file holds. Raises BaselineError, with its names, where a part of it is missing."""
    if not isinstance(data, dict):
        raise BaselineError("it holds no figures; write one with --pcc-record.")
    missing = [name for name in PARTS if name not in data]
    if missing:
        named = " and no ".join(f'"{name}"' for name in missing)
        raise BaselineError(f"it has no {named}; write one with --pcc-record.")
    wrong = [name for name in PARTS if not isinstance(data[name], dict)]
    if wrong:
        raise BaselineError(f'its "{wrong[0]}" is no table; write one with --pcc-record.')
    needed = [field.name for field in dataclasses.fields(Platform) if field.name != "system"]
    missing = [name for name in needed if name not in data["platform"]]
    if missing:
        raise BaselineError(f'its "platform" has no "{missing[0]}"; write one with --pcc-record.')
    return data


def _figures(line: dict[str, Any]) -> CaseFigures:
    fields = {field.name: line.pop(field.name, None) for field in dataclasses.fields(CaseFigures)}
    wrong = [*line, *(name for name, value in fields.items() if not _is_figure(value))]
    if wrong:
        raise BaselineError(f"a case's {wrong[0]!r} is no figure of a comparison.")
    return CaseFigures(**fields)


def _is_figure(value: Any) -> bool:
    """Whether a value is a finite number, or none at all."""
    if value is None:
        return True
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and abs(value) <= sys.float_info.max


def _relaxation(case: str, line: Mapping[str, Any]) -> Relaxation:
    if not str(line.get("reason") or "").strip() or "until" not in line:
        raise BaselineError(
            f'the relaxation of {case!r} needs a "reason" and the last day it holds, "until".'
        )
    if not any(line.get(name) for name in CHECKED_FIGURES):
        raise BaselineError(
            f'the relaxation of {case!r} says no figure that is allowed: "pcc", "relative_l2" or '
            '"worst_row".'
        )
    if not all(_is_figure(line.get(name)) for name in CHECKED_FIGURES):
        raise BaselineError(f"a figure of the relaxation of {case!r} is no number.")
    return Relaxation(**{**line, "until": datetime.date.fromisoformat(line["until"])})


def check_platform(baseline: Baseline, path: str | pathlib.Path, platform: Platform) -> None:
    """Raises BaselineError unless the baseline was recorded on such a platform."""
    if baseline.platform != platform:
        raise BaselineError(
            f"baseline {path} is of {baseline.platform}; this run is on {platform}: record one for "
            "it with --pcc-record."
        )


def save(path: str | pathlib.Path, baseline: Baseline) -> None:
    """Write the file in one step: sorted, a line per case."""
    relaxed = {
        case: {**_present(values), "until": values.until.isoformat()}
        for case, values in baseline.relaxed.items()
    }
    cases = {case: _present(figures) for case, figures in baseline.cases.items()}
    fields = dataclasses.asdict(baseline.platform)
    if fields["system"] is None:
        del fields["system"]
    platform = json.dumps(fields)
    parts = {"platform": platform, "cases": _by_line(cases), "relaxed": _by_line(relaxed)}
    text = ",\n".join(f'"{name}": {part}' for name, part in parts.items())
    atomic.write_text(path, f"{{\n{text}\n}}\n")


def _present(values: CaseFigures | Relaxation) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(values).items() if value is not None}


def _by_line(cases: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [f"{json.dumps(case)}: {json.dumps(cases[case])}" for case in sorted(cases)]
    return "{\n" + ",\n".join(lines) + "\n}" if lines else "{}"
