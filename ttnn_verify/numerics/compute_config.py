"""How precisely a kernel was asked to compute."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class ComputeConfig:
    """The fields of TTNN's compute kernel config that a noise floor depends on.

    The defaults are those of ttnn.linear and ttnn.matmul without a config.

    Attributes:
        fidelity: "LoFi", "HiFi2", "HiFi3" or "HiFi4".
        fp32_dest_acc: whether the destination accumulates in 32 bits.
        packer_l1_acc: whether sums of 16 bits are added up in L1, by the packer.
    """

    fidelity: str = "HiFi2"
    fp32_dest_acc: bool = False
    packer_l1_acc: bool = True


# TTNN's own for norms and rotations.
HIFI4 = ComputeConfig("HiFi4")


def of_steps(compute: ComputeConfig | None, default: ComputeConfig = HIFI4) -> tuple[str, bool]:
    """Fidelity and fp32_dest_acc of each step of a norm or a rotation; `default` is TTNN's own."""
    compute = compute or default
    return compute.fidelity, compute.fp32_dest_acc
