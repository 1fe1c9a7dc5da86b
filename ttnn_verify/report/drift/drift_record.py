"""A drift report as plain values, for `--json` and for pages.

Figures are None where there is none; relative L2 errors and PCC are of floats, None for NaN.
"""

import dataclasses
import json
import math
import pathlib
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ttnn_verify import sentences

# Statuses of calls: those that are bad, and those that say nothing.
BAD = ("wrong", "misused", "missing", "output")
UNJUDGED = ("no-golden", "tool-error")

Record = typing.TypeVar("Record")


@dataclasses.dataclass(frozen=True)
class DepthRecord:
    """A row of the table over depth; see `ttnn_verify.drift.cumulative`.

    Attributes:
        name: "embedding", "layer 0", ..., "norm", "logits".
        prompt, tokens: relative L2 error of the output on the model's own results, of the prompt's
            rows and of those given one at a time.
        pcc: of all rows of the output.
        update: relative L2 error of output minus input.
        gain: the error of the output over that of the row before.
        isolated: relative L2 error of the output when the layer is given Hugging Face's input.
    """

    name: str
    prompt: float | None = None
    tokens: float | None = None
    pcc: float | None = None
    update: float | None = None
    gain: float | None = None
    isolated: float | None = None

    @property
    def layer(self) -> int | None:
        """The layer's number, None outside the layers."""
        numbered = re.fullmatch(r"layer (\d+)", self.name)
        return int(numbered[1]) if numbered else None


@dataclasses.dataclass(frozen=True)
class ShareRecord:
    """An op family's share of the logits' error: `error` is left when it is computed exactly."""

    family: str
    error: float | None
    share: float | None


@dataclasses.dataclass(frozen=True)
class FindingRecord:
    """The verdict of one call of an operation; see `ttnn_verify.drift.finding`.

    Attributes:
        status: "ok", "wrong", ...
        piece, call: in which call of the model, which operation of it.
        operation, layer, part, value: the operation and where it is in the model.
        relative_l2, pcc, used: of its result; `used` is a share of the tolerance.
        inputs_pcc: the least PCC of its inputs with Hugging Face's.
        note: in words.
        chip: of a mesh, the chips on which it is bad, in words; "" for all, or one chip.
    """

    status: str
    piece: str
    call: int
    operation: str
    layer: int | None = None
    part: str | None = None
    value: str | None = None
    relative_l2: float | None = None
    pcc: float | None = None
    used: float | None = None
    inputs_pcc: float | None = None
    note: str = ""
    chip: str = ""

    @property
    def short(self) -> str:
        """`rms_norm (norm) 88%`: the operation, the value, the share of its tolerance."""
        value = f" ({self.value})" if self.value else ""
        used = "" if self.used is None else f" {self.used:.0%}"
        return f"{self.operation.rpartition('.')[2]}{value}{used}"


class RowCalls(typing.NamedTuple):
    """The calls of a row of the table over depth: how many, how many are bad, and the worst.

    `worst` is a bad one where there is any, and then the one that used most of its tolerance; None
    where no share is known.
    """

    ops: int
    bad: int
    worst: FindingRecord | None


def calls_of_rows(names: Sequence[str], findings: Iterable[FindingRecord]) -> dict[str, RowCalls]:
    """Row of the table over depth -> its calls.

    Args:
        names: of the rows, in their order.
    """
    of_rows: dict[str, list[FindingRecord]] = {name: [] for name in names}
    for one in findings:
        name = _row_of(one, names)
        if name in of_rows:
            of_rows[name].append(one)
    return {name: _row_calls(calls) for name, calls in of_rows.items()}


def _row_of(one: FindingRecord, names: Sequence[str]) -> str:
    """The row that a call belongs to: of those outside of the layers by the value, or its part."""
    if one.layer is not None:
        return f"layer {one.layer}"
    for name in names:
        if one.value is not None and f"{one.value}.".startswith(f"{name}."):
            return name
    return names[-1 if one.part == "head" else 0] if names else ""


def _row_calls(calls: Sequence[FindingRecord]) -> RowCalls:
    def badness(one: FindingRecord) -> tuple[bool, float]:
        return one.status in BAD, math.inf if one.used is None else one.used

    known = (one for one in calls if one.used is not None or one.status in BAD)
    bad = sum(one.status in BAD for one in calls)
    return RowCalls(len(calls), bad, max(known, key=badness, default=None))


# How far a search went -> what a page says of it.
SCOPES = {
    "whole": "every call was judged, and the model run on its own results",
    "first": "--first: the search ended with the first bad call, and only that is shown",
    "frugal": "--frugal: a few values were read, by halving; it sees what is plainly wrong",
}


@dataclasses.dataclass(frozen=True)
class DriftRecord:
    """A report of drift.

    Attributes:
        checkpoint, backend: what ran, and where.
        tokens, decoded: how many tokens in all, and how many of them one at a time.
        model_file: its path, as it was given.
        prompt: its text, or its ids where there is no tokenizer.
        made: the time, as `2026-11-29 20:30 UTC`.
        versions: name -> version, of what the figures depend on.
        scope: how far the search went, one of `SCOPES`.
        status: the command's exit status.
        verdict: in a line.
        counts: status of a call -> how many calls.
        allowed_logits: relative L2 error of the logits that the model's roundings explain.
        depth: the table over depth.
        low_precision: where the model asks for less precision than elsewhere, and what it costs.
        attribution: the op families' shares, where they were asked for.
        findings: of every call that was judged, or that could not be.
        left_out: sequence of tokens -> why the model was not run along it.
        basis: which emulated operations follow the kernels, and what the others do, in a line.
    """

    checkpoint: str
    backend: str
    tokens: int
    decoded: int
    status: int
    verdict: str
    counts: Mapping[str, int]
    allowed_logits: float | None
    depth: tuple[DepthRecord, ...]
    low_precision: tuple[str, ...]
    attribution: tuple[ShareRecord, ...]
    findings: tuple[FindingRecord, ...]
    model_file: str = ""
    prompt: str = ""
    made: str = ""
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    scope: str = "whole"
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)
    basis: str = ""

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"


def load(path: pathlib.Path) -> DriftRecord:
    """The record in a file of `python -m ttnn_verify.drift --json`.

    Raises:
        ValueError: the file cannot be read, or is no such record.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        record = DriftRecord(
            depth=tuple(_typed(DepthRecord(**row)) for row in data.pop("depth")),
            low_precision=tuple(data.pop("low_precision")),
            attribution=tuple(_typed(ShareRecord(**row)) for row in data.pop("attribution")),
            findings=tuple(_typed(FindingRecord(**row)) for row in data.pop("findings")),
            **data,
        )
        return _typed(record)
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"drift report {path}: {error}") from error
    except (AttributeError, KeyError, TypeError) as error:
        says = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(
            f"drift report {path}: {says}; write one with `python -m ttnn_verify.drift --json`."
        ) from error


def _typed(record: Record) -> Record:
    """A record whose plain fields have the types that they are declared with. Raises TypeError."""
    for name, declared in typing.get_type_hints(type(record)).items():
        kinds = typing.get_args(declared) if isinstance(declared, types.UnionType) else (declared,)
        if not all(isinstance(kind, type) for kind in kinds):
            continue  # a tuple of records, each checked by itself
        kinds += (int,) if float in kinds else ()
        value = getattr(record, name)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise TypeError(f"{name} is {sentences.shown(value)}")
    return record


def finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, with None for each float that is NaN or infinite: JSON has neither."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }
