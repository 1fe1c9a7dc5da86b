"""Binding of attention over two sequences that see each other, as image and text do.

B batch, N heads, S and L queries and keys of the two, D head_dim.
"""

import torch
import ttnn

from ttnn_emulator.arithmetic import paths
from ttnn_emulator.arithmetic.compute import PromptScores
from ttnn_emulator.arithmetic.formats import TILE
from ttnn_emulator.dispatch import Launch
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops.common.attending import scale_of
from ttnn_emulator.ops.common.configs import attention_program, compute_of

AS_ONE_PROMPT = paths.approximation("joint attention as the kernel for one prompt")


def joint_scaled_dot_product_attention(
    launch: Launch,
    input_tensor_q: DeviceTensor,
    input_tensor_k: DeviceTensor,
    input_tensor_v: DeviceTensor,
    joint_tensor_q: DeviceTensor,
    joint_tensor_k: DeviceTensor,
    joint_tensor_v: DeviceTensor,
    *,
    joint_strategy: str,  # the host side takes "rear" alone: the joint tensors come last
    program_config: object,
    scale: float | None = None,
    compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """[B, N, S, D] and [B, N, L, D], three each -> [B, N, S, D], [B, N, L, D].

    All queries see all keys of both, without padding. joint_sdpa.cpp goes through the chunks of
    each sequence by itself, which is not followed.
    """
    paths.tell(AS_ONE_PROMPT)
    pairs = (
        (input_tensor_q, joint_tensor_q),
        (input_tensor_k, joint_tensor_k),
        (input_tensor_v, joint_tensor_v),
    )
    query, key, value = (torch.cat([one.logical for one in pair], 2) for pair in pairs)
    keys = key.shape[2]
    key, value = (torch.nn.functional.pad(x, (0, 0, 0, -keys % TILE)) for x in (key, value))
    result = launch.math.attention(
        query,
        key,
        value,
        scores=PromptScores(scale=scale_of(scale, input_tensor_q), causal=False, keys=keys),
        program=attention_program(program_config),
        compute=compute_of(compute_kernel_config),
        out=launch.outputs[0].dtype,
    )
    own = input_tensor_q.shape[2]
    return result[:, :, :own], result[:, :, own:]


BINDINGS = {
    "ttnn.transformer.joint_scaled_dot_product_attention": joint_scaled_dot_product_attention,
}
