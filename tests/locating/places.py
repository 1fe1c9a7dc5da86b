"""Where each fault of the catalogue is, in the whole model: the operation that drift must name.

A fault of a kernel is at the operation itself, in the first layer that uses it. A fault in how the
model is put together is at the operation that is used wrongly first.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
import ttnn

import ttnn_emulator
from tests.faults.inject import Fault
from tests.ops.table import OPS
from tests.support.checkpoint import model_file
from ttnn_verify import drift
from ttnn_verify.drift.observation import walk
from ttnn_verify.model_file import load_model_file
from ttnn_verify.numerics import metrics

PROMPT, DECODED = 33, 3
MAX_SEQ_LEN = 96
HARMLESS = 1.05  # times the error without a fault, chance included


@dataclasses.dataclass(frozen=True)
class Located:
    """The verdict of drift on a model with a fault.

    Attributes:
        finding: the first bad operation, None if there is none.
        right: whether that is the operation that the fault is at.
        idle: why the fault does nothing in this model; then nothing was looked for.
        harmless: whether the logits are as near to Hugging Face's as without the fault.
    """

    finding: drift.OpFinding | None
    right: bool
    idle: str = ""
    harmless: bool = False


def build(stage: str, hf_model: Any, device: ttnn.Device) -> Any:
    """The whole model of a stage of the bring-up."""
    return load_model_file(model_file(stage)).build_model(hf_model, device, MAX_SEQ_LEN)


def located(
    fault: Fault,
    build: Callable[[], Any],
    hf_model: Any,
    ids: torch.Tensor,
    healthy: Callable[[str], torch.Tensor],
    accurate: bool | None = None,
) -> Located:
    """Inject a fault into a model and locate it.

    Args:
        build: makes the model.
        ids: `[1, S]` of which S is `PROMPT` + `DECODED`.
        healthy: `healthy(arithmetic)` are the logits of the model without a fault.
        accurate: as `drift.Session` has it; by default for faults that it takes to be seen.
    """
    # what only a compute configuration costs is no drift unless the most accurate one is asked for;
    # in rounded arithmetic none costs anything
    if accurate is None:
        accurate = fault.arithmetic == "rounded" or fault.tier == "layers"
    unchanged = healthy(fault.arithmetic)  # before the fault is there
    with ttnn_emulator.arithmetic_settings(fault.arithmetic), fault.inject():
        try:
            faulty = logits(build(), ids)
        except (KeyError, RuntimeError) as error:
            return Located(None, False, f"the fault is not written for this call: {error}")
        if torch.equal(faulty, unchanged):
            return Located(None, False, "the logits are the same bits with it: it cannot occur")
        finding = drift.locate(build(), hf_model, ids, DECODED, drift.Session(accurate))
    expected = logits(hf_model, ids)[: len(faulty)]
    error, usual = (metrics.relative_l2(expected, one) for one in (faulty, unchanged))
    right = finding is not None and at_its_place(finding, fault)
    return Located(finding, right, harmless=error <= HARMLESS * usual)


def at_its_place(finding: drift.OpFinding, fault: Fault) -> bool:
    """Whether an operation is the one that the fault is at."""
    if fault.place:
        operation, layer = fault.place
        return finding.operation.split(".")[-1].endswith(operation) and finding.layer == layer
    names = {OPS[name].operation for name in fault.ops}
    return finding.operation.rpartition(".")[2] in names


def logits(model: Callable[..., Any], ids: torch.Tensor) -> torch.Tensor:
    """Logits of all sequences that drift walks along, `[N, V]`."""
    rows: list[torch.Tensor] = []

    def end(model_call: walk.ModelCall, returned: torch.Tensor) -> None:
        rows.append(returned.flatten(0, 1))

    walk.lead(model, walk.sequences(ids, DECODED), end=end)
    return torch.cat(rows)
