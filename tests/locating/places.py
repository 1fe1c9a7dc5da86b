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
from ttnn_verify.huggingface.inputs import load_model_file

PROMPT, DECODED = 33, 3
MAX_SEQ_LEN = 96


@dataclasses.dataclass(frozen=True)
class Located:
    """The verdict of drift on a model with a fault.

    Attributes:
        finding: the first bad operation, None if there is none.
        right: whether that is the operation that the fault is at.
        changed: whether the fault changes any logit of the walk; if not, nothing was looked for.
    """

    finding: drift.OpFinding | None
    right: bool
    changed: bool


def build(stage: str, hf_model: Any, device: ttnn.Device) -> Any:
    """The whole model of a stage of the bring-up."""
    return load_model_file(model_file(stage)).build_model(hf_model, device, MAX_SEQ_LEN)


def located(
    fault: Fault,
    build: Callable[[], Any],
    hf_model: Any,
    ids: torch.Tensor,
    healthy: Callable[[str], torch.Tensor],
) -> Located:
    """Inject a fault into a model and locate it.

    Args:
        build: makes the model.
        ids: `[1, S]` of which S is `PROMPT` + `DECODED`.
        healthy: `healthy(arithmetic)` are the logits of the model without a fault.
    """
    # what only a compute configuration costs is no drift unless the most accurate one is asked for;
    # in rounded arithmetic none costs anything
    accurate = fault.arithmetic == "rounded" or fault.tier == "layers"
    unchanged = healthy(fault.arithmetic)  # before the fault is there
    with ttnn_emulator.arithmetic_settings(fault.arithmetic), fault.inject():
        if torch.equal(logits(build(), ids), unchanged):
            return Located(None, False, changed=False)
        finding = drift.locate(build(), hf_model, ids, DECODED, accurate)
    return Located(finding, finding is not None and at_its_place(finding, fault), changed=True)


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
