"""How an operation is asked to compute: a compute kernel configuration, and fused steps."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Compute:
    """A compute kernel configuration.

    Attributes:
        fidelity: LoFi, HiFi2, HiFi3 or HiFi4 (math_fidelity).
        approximate: math_approx_mode.
        fp32_dest_acc: fp32_dest_acc_en, a destination of 32 bits.
        packer_l1_acc: whether blocks of K are summed in L1.
    """

    fidelity: str
    approximate: bool = False
    fp32_dest_acc: bool = False
    packer_l1_acc: bool = False


@dataclass(frozen=True)
class Step:
    """A function of one value that another operation applies to an operand or a result.

    Attributes:
        name: its name in `rounded_eltwise.UNARY`.
        numbers: what else it takes, such as pow's exponent.
        approximate: whether the device's fast variant is asked for.
    """

    name: str
    numbers: tuple = ()
    approximate: bool = False


@dataclass(frozen=True)
class AttentionProgram:
    """A program configuration of attention.

    Attributes:
        q_chunk, k_chunk: rows of queries and of keys that are worked on at a time; 0 for the
            kernel's own choice.
        exp_approximate: whether scores take the approximate exponential (exp_approx_mode).
        cores: (columns, rows) of the cores that take part.
        cores_per_head: most cores that share a kv head in decode (max_cores_per_head_batch).
    """

    q_chunk: int
    k_chunk: int
    exp_approximate: bool
    cores: tuple[int, int]
    cores_per_head: int


def default_scale(width):
    """1 / sqrt(width) of attention scores, both operations rounded to float32 as TTNN's host does.

    At width 96 that is 0x3DD105EB, not the float32 nearest to the exact value (observed in the
    programs TTNN builds for prefill, chunked prefill and decode).
    """
    return torch.tensor(float(width)).sqrt().reciprocal().item()
