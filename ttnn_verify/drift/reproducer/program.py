"""The program that makes a bad call again and says whether its result differs."""

import dataclasses
import operator
from typing import Any

import torch
import ttnn

from ttnn_verify.drift.finding import OpFinding
from ttnn_verify.drift.observation.given import GivenCall, GivenTensor
from ttnn_verify.drift.observed import Observed
from ttnn_verify.drift.reproducer import chips_compared, operands
from ttnn_verify.drift.reproducer.as_source import NotWritable, source
from ttnn_verify.drift.reproducer.operands import Variable
from ttnn_verify.drift.reproducer.wanted import NotReproducible, Wanted, WantedOfChips

PROGRAM, OPERANDS = "reproduce.py", "operands.safetensors"
MOST_LINES = 30
LONG = 40  # characters of an argument that has a line of its own, where there is room


@dataclasses.dataclass(frozen=True)
class BadCall:
    """A bad call, what it should make, and what drift says of it."""

    finding: OpFinding
    observed: Observed
    wanted: Wanted | WantedOfChips


@dataclasses.dataclass(frozen=True)
class Setting:
    """How a case was found, in words.

    Attributes:
        command: the command that found it.
        versions: of TTNN, torch and others.
        device: architecture, cores and backend.
        emulated: the command that runs the program without a card.
        system: that the command emulates for a collective; None for its own.
    """

    command: str
    versions: str
    device: str
    emulated: str
    system: str | None = None


@dataclasses.dataclass(frozen=True)
class _Call:
    """The call in source.

    Attributes:
        keeps: what stands before it.
        args, kwargs: sources of the arguments.
    """

    keeps: str
    operation: str
    args: tuple[str, ...]
    kwargs: dict[str, str]


def written(case: BadCall, setting: Setting) -> tuple[str, dict[str, torch.Tensor]]:
    """The program, and the tensors of the file beside it.

    Raises:
        NotReproducible: no program of `MOST_LINES` lines makes the call again.
    """
    given = case.observed.operands.given
    assert given is not None
    made = operands.variables(given, case.observed.operation)
    call = _call(case.observed, given, made)
    stored = {one.name: one.stored for one in made.values() if one.stored is not None}
    stored |= _stored(case.wanted)
    taken = {one.name for one in made.values()}
    target = _target(case.observed, case.wanted.result, made)
    for blanks, apart in ((True, True), (False, True), (False, False)):
        lines = [
            *_header(case, setting),
            *_beginning(blanks, case.wanted),
            *operands.lines(made.values()),
            *_calling(call, taken if apart else None),
            *_comparing(target, case.wanted),
        ]
        if len(lines) <= MOST_LINES:
            return "\n".join(lines) + "\n", stored
    kinds = len(operands.lines(made.values()))
    raise NotReproducible(
        f"its {len(made)} operands of {kinds} kinds are too many for {MOST_LINES} lines."
    )


def _stored(wanted: Wanted | WantedOfChips) -> dict[str, torch.Tensor]:
    """What the file keeps beside the operands."""
    if isinstance(wanted, WantedOfChips):
        values, allowed = _narrowed(wanted.values), wanted.allowed
        return {"expected": values, "allowed": allowed}
    places = {} if wanted.index is None else {"places": wanted.index.contiguous()}
    return {"expected": _narrowed(wanted.rows), **places}


# --- the call -------------------------------------------------------------------------------------


def _call(observed: Observed, given: GivenCall, made: dict[GivenTensor, Variable]) -> _Call:
    name = observed.name
    if _reached(name) is not observed.operation:
        raise NotReproducible(
            f"{name} is not what the model called, and no other name of it is known."
        )

    def named(value: Any) -> str | None:
        if isinstance(value, ttnn.MeshDevice):
            return "device"
        return made[value].name if isinstance(value, GivenTensor) else None

    def written(label: str, value: Any) -> str:
        try:
            return source(value, named)
        except NotWritable as error:
            raise NotReproducible(
                f"{name} is called with an argument {label} that cannot be written: {error}."
            ) from None

    return _Call(
        "result = " if observed.paths else "",
        name,
        tuple(written(str(place), value) for place, value in enumerate(given.args)),
        {label: written(label, value) for label, value in given.kwargs.items()},
    )


def _reached(name: str) -> Any:
    """What a program reaches by a dotted name of TTNN's, None where there is nothing."""
    try:
        return operator.attrgetter(name.partition(".")[2])(ttnn)
    except AttributeError:
        return None


def _target(observed: Observed, number: int, made: dict[GivenTensor, Variable]) -> str:
    """The source of the result that is compared: an element of what is returned, or a cache."""
    if observed.paths:
        return f"result{observed.paths[number]}"
    buffer = observed.results[number].buffer
    return next(one.name for tensor, one in made.items() if tensor.buffer == buffer)


def _calling(call: _Call, taken: set[str] | None) -> list[str]:
    """The lines that make the call.

    Args:
        taken: names of the operands; None to write the call in one line.
    """
    apart = {
        name: text
        for name, text in call.kwargs.items()
        if taken is not None and len(text) > LONG and name not in taken | operands.TAKEN
    }
    kwargs = (f"{name}={name if name in apart else text}" for name, text in call.kwargs.items())
    made = f"{call.operation}({', '.join((*call.args, *kwargs))})"
    return [*(f"{name} = {text}" for name, text in apart.items()), f"{call.keeps}{made}"]


# --- around it ------------------------------------------------------------------------------------


def _header(case: BadCall, setting: Setting) -> list[str]:
    found, wanted = case.finding, case.wanted
    value = "" if found.value is None else f" ({found.value})"
    claim = "its result is not what it should make of these operands"
    if wanted.name is not None:
        claim = (
            f"its result is right for these operands, but it should hold {wanted.name} of Hugging "
            "Face's model"
        )
    emptied = any(not one.known for one in _given(case))
    empty = "; its caches are empty here, which changes nothing" if emptied else ""
    emulated = setting.emulated
    if isinstance(wanted, WantedOfChips) and setting.system is not None:
        emulated = f"{emulated} --system {setting.system}"
    sentences = (
        f"{found.operation}: {claim}{empty}.",
        f"Place: {found.where}{value}, call {found.index + 1} of {found.model_call}.",
        f"Drift: {found.line}",
        f"Found by {setting.command} with {setting.versions} on {setting.device}.",
        f"Run beside {OPERANDS}: python {PROGRAM}; without a card: {emulated} {PROGRAM}.",
        "Exit status: 1 the result differs, 0 it agrees.",
    )
    return [f"# {' '.join(sentence.split())}" for sentence in sentences]


def _given(case: BadCall) -> list[GivenTensor]:
    given = case.observed.operands.given
    assert given is not None
    return [tensor for _, tensors in given.tensors() for tensor in tensors]


def _beginning(blanks: bool, wanted: Wanted | WantedOfChips) -> list[str]:
    opening = ["device = ttnn.open_device(device_id=0)"]
    blank = [""] if blanks else []
    return [
        "import pathlib",
        *blank,
        "import torch",
        "import ttnn",
        "from safetensors.torch import load_file",
        *blank,
        f'stored = load_file(pathlib.Path(__file__).with_name("{OPERANDS}"))',
        *(chips_compared.opening(wanted) if isinstance(wanted, WantedOfChips) else opening),
    ]


def _comparing(target: str, wanted: Wanted | WantedOfChips) -> list[str]:
    """The lines that compare the result by the rule of `numerics.tolerance`."""
    if isinstance(wanted, WantedOfChips):
        return chips_compared.comparing(target, wanted)
    whole, row = (f"{allowed:.6g}" for allowed in wanted.allowed)
    figures = (
        f"relative L2 {{relative_l2:.3g}} ({whole} allowed), worst row {{worst:.3g}} ({row} "
        "allowed), PCC {pcc:.6f}"
    )
    return [
        f'actual, expected = ttnn.to_torch({target}).double(), stored["expected"].double()',
        "ttnn.close_device(device)",
        f"if tuple(actual.shape) != {wanted.shape}:",
        f'    raise SystemExit(f"differs: shape {{tuple(actual.shape)}}, expected {wanted.shape}")',
        *_selecting(wanted),
        f"error, size = {_error(wanted)}.norm(dim=-1), expected.norm(dim=-1)",
        f"relative_l2, worst = error.norm() / {_whole(wanted)}, {_worst(wanted)}",
        "pcc = torch.corrcoef(torch.stack((expected.flatten(), actual.flatten())))[0, 1]",
        f'print(f"shape {wanted.shape}, {figures}")',
        f"differs = {_differs(wanted, whole, row)}",
        'print("differs" if differs else "agrees")',
        "raise SystemExit(differs)",
    ]


def _selecting(wanted: Wanted) -> list[str]:
    """The lines that bring the result into the rows that are compared."""
    lines = []
    if wanted.index is not None:
        lines = ['actual = actual.flatten()[stored["places"]]']
    elif wanted.rows.shape != wanted.shape:
        lines = ["actual = actual.reshape(expected.shape)"]
    if wanted.rows.isnan().any():  # where anything is right
        lines += [
            "unknown = expected.isnan()",
            "actual, expected = (x.masked_fill(unknown, 0) for x in (actual, expected))",
        ]
    return lines


def _error(wanted: Wanted) -> str:
    if wanted.rows.isinf().any():
        return "(actual - expected).masked_fill(actual == expected, 0)"
    return "(actual - expected)"


def _whole(wanted: Wanted) -> str:
    return "size.norm()" if wanted.rows.nan_to_num(0.0).any() else "1e-300"


def _worst(wanted: Wanted) -> str:
    """The greatest share of a row that is wrong; a row of zeros counts as one of the usual size."""
    size = wanted.rows.nan_to_num(0.0).norm(dim=-1)
    if size.all():
        return "(error / size).max()"
    usual = float(size.square().mean().sqrt()) or 1e-300
    return f"(error / size.where(size > 0, {usual:.6g})).max()"


def _differs(wanted: Wanted, whole: str, row: str) -> str:
    if any(wanted.allowed):
        return f"not (relative_l2 <= {whole} and worst <= {row})"
    signs = "(actual.signbit() != expected.signbit()).any()"
    return f"not torch.equal(actual, expected) or bool({signs})"


def _narrowed(rows: torch.Tensor) -> torch.Tensor:
    """In the smallest format that holds all values."""
    for dtype in (torch.bfloat16, torch.float32):
        narrow = rows.to(dtype)
        if torch.equal(narrow.double().nan_to_num(0.0), rows.nan_to_num(0.0)):
            return narrow.contiguous()
    return rows.contiguous()
