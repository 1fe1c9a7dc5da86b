"""Every registered TTNN operation, with what its emulated results are based on.

The basis of an operation that has recordings is that of its recorded settings. Of any other a plain
call is made, on small bfloat16 tensors in tiles, and the journal says what that was based on.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import torch
import ttnn

from ttnn_emulator import device, evidence, installation
from ttnn_emulator.call_settings import MOVING
from ttnn_emulator.coverage.plain_calls import CALLS
from ttnn_emulator.ops import BINDINGS, FAMILY_OF
from ttnn_emulator.ops.creation import RANDOM
from ttnn_emulator.ops.indexing.experts import ROUTER
from ttnn_emulator.ops.mesh.fused_collectives import ARRIVING_BLOCKS
from ttnn_emulator.runtime import transfer

# Basis -> what it says of an operation.
BASES = {
    "recorded": "bit for bit what recordings of the real kernel hold, in the recorded settings",
    "derived": "the kernel's steps, followed from its sources; nothing recorded to compare with",
    "approximate": "a step is computed in float32 and rounded once, or as another kernel does it",
    "host": "TTNN's own host code moves the bytes",
    "composed": "Python that calls other operations of this table",
    "refused": "no arithmetic: a call on the device raises `NotEmulated`",
}


@dataclasses.dataclass(frozen=True)
class OperationCoverage:
    """One operation.

    Attributes:
        operation: its full name, such as "ttnn.linear".
        basis: of `BASES`.
        family: the module of `ttnn_emulator.ops` that binds it; "" where none does.
        recordings: paths of the recordings of it.
        approximations: the steps that its plain call does not follow, in words.
    """

    operation: str
    basis: str
    family: str = ""
    recordings: tuple[str, ...] = ()
    approximations: tuple[str, ...] = ()


def rows(opened: ttnn.MeshDevice) -> list[OperationCoverage]:
    """All registered operations by name.

    Args:
        opened: an emulated device, in kernel arithmetic.
    """
    operations = {
        operation.python_fully_qualified_name: operation
        for operation in ttnn.query_registered_operations(include_experimental=True)
    }
    return [_row(name, operations[name], opened) for name in sorted(operations)]


def _row(name: str, operation: Callable[..., Any], opened: ttnn.MeshDevice) -> OperationCoverage:
    if name in transfer.TRANSFERS:
        return OperationCoverage(name, "host")
    if name in installation.COMPOSED:
        return OperationCoverage(name, "composed")
    if name not in BINDINGS:
        return OperationCoverage(name, "refused")
    if name in ON_SEVERAL_CHIPS:
        steps_left_out = ON_SEVERAL_CHIPS[name]
        return OperationCoverage(name, "approximate", FAMILY_OF[name], (), steps_left_out)
    settings = evidence.recorded().get(name, {})
    if not settings:
        plain = plain_call(operation, name, opened)
        steps = plain.not_followed if plain else ()
        basis = plain.status if plain else "derived"
        return OperationCoverage(name, basis, FAMILY_OF[name], (), steps)
    left_out = {step for setting in settings for step in evidence.not_followed(setting)}
    statuses = {
        evidence.status_of(bool(evidence.not_followed(setting)), of_setting)
        for setting, of_setting in settings.items()
    }
    basis = next(status for status in evidence.STATUSES if status in statuses)
    paths_ = (path for s in settings.values() for listed in s.values() for path in listed)
    return OperationCoverage(
        name, basis, FAMILY_OF[name], tuple(sorted(paths_)), tuple(sorted(left_out))
    )


# Families whose operations copy or make values: derived, but for those of `CALLS`.
COPYING = MOVING - {"embedding"} | {"kv_cache"}
# Operations beside those that are not called, since they compute as others do.
AS_OTHERS = {
    "ttnn.experimental.all_reduce_async": "ttnn.all_reduce",
    "ttnn.experimental.deepseek_moe_fast_reduce_nc": "ttnn.experimental.fast_reduce_nc",
    "ttnn.experimental.typecast": "ttnn.typecast",
    "ttnn.moe_expert_token_remap": "a copy",
    "ttnn.moe_routing_remap": "a copy",
    "ttnn.scale_causal_mask_hw_dims_softmax_in_place": "ttnn.scale_mask_softmax_in_place",
    "ttnn.transformer.attention_softmax_": "ttnn.transformer.attention_softmax",
    "ttnn.unary_chain": "the functions of the chain",
}

# Operations that no single chip can be asked for -> the steps that they do not follow.
# Beside them those whose plain call is too large.
ON_SEVERAL_CHIPS = {
    "ttnn.experimental.topk_router_gpt": (ROUTER.text,),
    "ttnn.sampling": (RANDOM.text,),
    "ttnn.experimental.all_gather_matmul_async": (ARRIVING_BLOCKS.text,),
}


def plain_call(
    operation: Callable[..., Any], name: str, opened: ttnn.MeshDevice
) -> evidence.Evidence | None:
    """The evidence for a plain call of an operation; None for one that is not called.

    Raises:
        ValueError: no guess at its arguments is right.
    """
    if name not in CALLS and (FAMILY_OF[name] in COPYING or name in AS_OTHERS):
        return None
    for args, named in _guesses(name, opened):
        before = device.computed_calls()
        with contextlib.suppress(Exception):  # TTNN's refusal of a guess, of whatever class
            operation(*args, **named)
            if device.computed_calls() > before:
                return device.last_evidence()
    raise ValueError(
        f"{name}: no plain call is known, so nothing can be told of its basis. Give its arguments "
        "in CALLS of ttnn_emulator/coverage/plain_calls.py."
    )


def _guesses(name: str, opened: ttnn.MeshDevice) -> Iterator[tuple[tuple[Any, ...], dict]]:
    """(arguments, named ones) of calls to try."""

    def tensor() -> ttnn.Tensor:
        values = torch.linspace(0.5, 1.5, 32 * 64).reshape(1, 1, 32, 64)
        return ttnn.from_torch(values, dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=opened)

    if name in CALLS:
        yield (), CALLS[name](tensor())
        return
    yield (tensor(),), {}
    yield (tensor(), tensor()), {}
    for numbers in ((2.0,), (1,), (0.5, 2.0)):
        yield (tensor(), *numbers), {}
    yield (tensor(), tensor(), tensor()), {}
