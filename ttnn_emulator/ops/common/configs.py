"""Converts TTNN's configurations to those of the arithmetic."""

import ttnn

from ttnn_emulator.arithmetic.compute import FIDELITY_PHASES, AttentionProgram, Compute
from ttnn_emulator.dispatch import NotEmulated


def compute_of(config: ttnn.DeviceComputeKernelConfig | None) -> Compute | None:
    """A `ttnn.WormholeComputeKernelConfig` as `Compute`; None, for the op's default, stays None."""
    if config is None:
        return None
    name = config.math_fidelity.name
    return Compute(
        # a configuration that names no fidelity gets the lowest
        fidelity=name if name in FIDELITY_PHASES else "LoFi",
        approximate=config.math_approx_mode,
        fp32_dest_acc=config.fp32_dest_acc_en,
        packer_l1_acc=config.packer_l1_acc,
    )


def attention_program(config: ttnn.SDPAProgramConfig | None) -> AttentionProgram | None:
    """A `ttnn.SDPAProgramConfig` as `AttentionProgram`; None stays None.

    Raises:
        NotEmulated: a field that changes the order of sums and is not followed.
    """
    if config is None:
        return None
    for name in ("matmul_math_fidelity", "segmented_accumulation", "max_k_splits"):
        value = getattr(config, name, None)
        if value and value != 1:
            raise NotEmulated(
                f"SDPAProgramConfig with {name}={value!r} is not emulated; leave it out."
            )
    grid = config.compute_with_storage_grid_size
    return AttentionProgram(
        q_chunk=config.q_chunk_size,
        k_chunk=config.k_chunk_size,
        exp_approximate=config.exp_approx_mode is not False,
        cores=(grid.x, grid.y),
        cores_per_head=config.max_cores_per_head_batch,
    )
