"""Settings of an operation: configurations, formats, shapes and fused functions.

The functions of `interface.Arithmetic` take them beside tensors.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch

FIDELITY_PHASES = {"LoFi": 1, "HiFi2": 2, "HiFi3": 3, "HiFi4": 4}


@dataclass(frozen=True)
class Compute:
    """A compute kernel configuration.

    Attributes:
        fidelity: a name of `FIDELITY_PHASES` (math_fidelity).
        approximate: math_approx_mode.
        fp32_dest_acc: fp32_dest_acc_en, a destination register (Dst) of 32 bits.
        packer_l1_acc: whether blocks of K are summed in L1.
    """

    fidelity: str
    approximate: bool = False
    fp32_dest_acc: bool = False
    packer_l1_acc: bool = False


class Formats(NamedTuple):
    """Device dtypes, by name, of an operation's first operand and of its result."""

    operand: str = "bfloat16"
    out: str = "bfloat16"


BFLOAT16 = Formats()


# --- norms ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Split:
    """How the columns of a row that is to be normalised lie on cores.

    Attributes:
        width: columns of the row that are not padding.
        columns: of each core, in whole tiles.
        cores: of a line, whose parts are added first.
        lines: of cores, whose sums are added then.
    """

    width: int
    columns: int
    cores: int
    lines: int = 1


# --- elementwise ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class FusedOp:
    """A function of one value that another operation applies to an operand or a result.

    Attributes:
        name: its name in `rounded_eltwise.UNARY`.
        numbers: its further arguments, such as pow's exponent.
        approximate: whether the device's fast variant is used.
    """

    name: str
    numbers: tuple = ()
    approximate: bool = False


@dataclass(frozen=True)
class FusedOps:
    """The functions fused to a binary operation: to its operands `a` and `b`, and to its result."""

    a: tuple[FusedOp, ...] = ()
    b: tuple[FusedOp, ...] = ()
    result: tuple[FusedOp, ...] = ()


NOTHING_FUSED = FusedOps()


# --- experts -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GroupedGate:
    """How a gate chooses experts by groups (deepseek_grouped_gate).

    Attributes:
        groups: equal groups that the experts are in, in their order.
        summed: best experts of a group whose scores add up to the group's.
        chosen_groups: groups that take part.
        experts: experts that are chosen.
        scale: factor of the weights, after they are divided by their sum.
        epsilon: added to that sum.
    """

    groups: int = 8
    summed: int = 2
    chosen_groups: int = 4
    experts: int = 8
    scale: float = 1.0
    epsilon: float = 1e-20


# --- matrix products -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Product:
    """Shapes and formats of one product [..., M, K] @ [..., K, N], all interleaved.

    Attributes:
        rows, depth, columns: M, K, N, padded to tiles or not.
        activation, weight, out: dtypes by name.
        fp32_dest_acc: whether the destination has 32 bits.
        dram: whether the inputs and the output all lie in DRAM; else some lie in L1.
        bias: dtype of a fused bias, or None.
    """

    rows: int
    depth: int
    columns: int
    activation: str = "bfloat16"
    weight: str = "bfloat16"
    out: str = "bfloat16"
    fp32_dest_acc: bool = False
    dram: bool = True
    bias: str | None = None


@dataclass(frozen=True)
class Blocking:
    """What determines the blocks of K of a matrix product.

    Attributes:
        cores: (columns, rows) of worker cores.
        core_grid: (columns, rows) that the caller asked for, or None.
        planned: whether the caller gave a program configuration.
        k_block: tiles of K in one block (in0_block_w of the program configuration), or None.
    """

    cores: tuple[int, int] = (8, 8)
    core_grid: tuple[int, int] | None = None
    planned: bool = False
    k_block: int | None = None


ON_ALL_CORES = Blocking()


# --- attention -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class AttentionProgram:
    """A program configuration of attention.

    Attributes:
        q_chunk, k_chunk: rows of queries and of keys in one chunk, multiples of 32; 0 lets the
            kernel choose.
        exp_approximate: whether scores take the approximate exponential (exp_approx_mode).
        cores: (columns, rows) of the cores that take part.
        cores_per_head: most cores that share a kv head in decode (max_cores_per_head_batch).
    """

    q_chunk: int = 0
    k_chunk: int = 0
    exp_approximate: bool = True
    cores: tuple[int, int] = (8, 8)
    cores_per_head: int = 16


@dataclass(frozen=True)
class PromptScores:
    """How attention over a prompt turns query @ key^T into the softmax's input.

    B batch, N heads, S queries, T keys.

    Attributes:
        scale: factor of the scores; None for `default_scale` of the head dimension.
        causal: whether a query sees no key after its own position; not with a mask.
        start: position of the first query (chunked prefill).
        window: keys that a query sees, its own included (causal); or half of it to either side.
            None for all.
        keys: keys that are not padding, for attention that is not causal and has no mask; None for
            all.
        mask: [1 or B, 1 or N, S, T] added to the scaled scores, or None. It is added, as the kernel
            adds it, so a NaN in a hidden key still spoils its scores.
        mask_format: the mask's dtype.
        sink: [N] logits before scaling that take part in the softmax's sum and have no value; or
            None.
        sequences: bounds 0, s1, s1 + s2, ... of packed sequences, of which a query sees its own
            alone (cu_window_seqlens); None for one.
    """

    scale: float | None = None
    causal: bool = True
    start: int = 0
    window: int | None = None
    keys: int | None = None
    mask: torch.Tensor | None = None
    mask_format: str = "bfloat16"
    sink: torch.Tensor | None = None
    sequences: tuple[int, ...] | None = None


CAUSAL = PromptScores()


@dataclass(frozen=True)
class CacheScores:
    """How attention over a cache turns query @ key^T into the softmax's input.

    B users, N heads, T rows of the cache.

    Attributes:
        scale: factor of the scores; None for `default_scale` of the head dimension.
        positions: last row that each user sees, B ints; None where all T are seen.
        mask: [B or 1, N or 1, T] added to the scores before they are scaled; or None.
        window: how many rows back a user sees, its own included; None for all.
        sink: [N] logits before scaling that take part in the softmax's sum and have no value; or
            None.
    """

    scale: float | None = None
    positions: list[int] | None = None
    mask: torch.Tensor | None = None
    window: int | None = None
    sink: torch.Tensor | None = None


@dataclass(frozen=True)
class DecodeWork:
    """The work that decode attention divides among cores.

    Attributes:
        capacity: rows of the whole cache, from which TTNN derives the size of a chunk.
        users: the call's batch size, skipped users included.
        cores: (columns, rows) of worker cores.
    """

    capacity: int
    users: int
    cores: tuple[int, int] = (8, 8)


def default_scale(width: int) -> float:
    """1 / sqrt(width) of attention scores, both operations rounded to float32 as TTNN's host does.

    At width 96 that is 0x3DD105EB, not the float32 nearest to the exact value (observed in the
    programs TTNN builds for prefill, chunked prefill and decode).
    """
    return torch.tensor(float(width)).sqrt().reciprocal().item()
