"""Which experts a token goes to, and with what weight."""

import torch

from ttnn_emulator.arithmetic import paths
from ttnn_emulator.arithmetic.compute import GroupedGate, Product
from ttnn_emulator.dispatch import Launch, NotEmulated
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops.common import bounds

ROUTER = paths.approximation("the router's product in blocks of its own, its softmax as ttnn's")


def moe(
    launch: Launch,
    input_tensor: DeviceTensor,
    expert_mask_tensor: DeviceTensor,
    topk_mask_tensor: DeviceTensor,
    k: int = 32,
    *,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    """[1, 1, S, E] scores -> [1, 1, S, 1]: the weight of expert 0, 0 where it is not chosen.

    The masks [1, 1, 1, E] and [1, 1, 1, k] are added to all rows.
    """
    return launch.math.expert_share(
        input_tensor.logical, expert_mask_tensor.logical, topk_mask_tensor.logical[..., :k], k
    ).reshape(launch.output.shape)


def moe_routing_remap(
    launch: Launch,
    routing_weights_tensor: DeviceTensor,
    non_zero_weight_size: int,
    expert_parallel_size: int,
    cluster_axis: int,
    *,
    optional_output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    """The weights [1, E] that belong to a chip's experts, zeros elsewhere.

    Each chip along the axis takes as many of those that are not zero; a single one takes all.
    """
    _on_one_chip(launch)
    weights = routing_weights_tensor.logical
    taken = torch.nonzero(weights.flatten()).flatten()[:non_zero_weight_size]
    result = torch.zeros_like(weights).flatten()
    result[taken] = weights.flatten()[taken]
    return result.reshape(launch.output.shape)


def moe_expert_token_remap(
    launch: Launch,
    topk_tensor: DeviceTensor,
    expert_mapping_tensor: DeviceTensor,
    expert_metadata_tensor: DeviceTensor,
    *,
    optional_output_mapping_tensor: DeviceTensor | None = None,
    optional_output_reduced_tensor: DeviceTensor | None = None,
    reduction_size: int = 16,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights of a chip's experts for each token, and which of them any of some tokens needs.

    Of tokens [.., S, E], a mapping [1, 1, E, chips] that has 1 where an expert is, and the experts
    [.., S, K] of each token: weights [.., S, experts of the chip], and 1 for each `reduction_size`
    tokens and expert that some of them go to.

    Raises:
        OutOfBounds: an expert of the chip beyond the weights.
    """
    _on_one_chip(launch)
    mapping = expert_mapping_tensor.logical.long()
    local = torch.nonzero(mapping.reshape(-1, mapping.shape[-1])[:, 0] == 1).flatten()
    weights = topk_tensor.logical.reshape(-1, topk_tensor.shape[-1])
    bounds.within(local, weights.shape[-1], op=launch.name, operand="topk_tensor", unit="expert")
    planned = launch.outputs[0].shape[-1]
    if len(local) != planned:
        raise NotEmulated(
            f"{launch.name}: the mapping has {len(local)} experts on the chip, and {planned} are "
            "planned for each: those that are left are as memory was. Map as many to each chip."
        )
    chosen = expert_metadata_tensor.logical.long().reshape(len(weights), -1)
    taken = (chosen[:, None, :] == local[None, :, None]).any(-1)
    mapped = torch.where(taken, weights[:, local], torch.zeros((), dtype=weights.dtype))
    whole = len(weights) // reduction_size * reduction_size
    reduced = taken[:whole].unflatten(0, (-1, reduction_size)).any(1).long()
    first, second = launch.outputs
    return mapped.reshape(first.shape), reduced.reshape(second.shape)


def _on_one_chip(launch: Launch) -> None:
    if launch.mesh != (1, 1):
        raise NotEmulated(
            f"{launch.name} on a {launch.mesh[0]}x{launch.mesh[1]} mesh is not emulated: what a "
            "chip gets depends on where it stands. Use one chip."
        )


def topk_router_gpt(
    launch: Launch,
    input_tensor: DeviceTensor,
    *,
    weight_tensor: DeviceTensor,
    bias_tensor: DeviceTensor,
    k: int = 4,
    num_experts: int = 128,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The `k` experts of each token [B, H] by x @ weight + bias, and their scores' softmax."""
    paths.tell(ROUTER)
    tokens, hidden = input_tensor.shape[-2:]
    scores = launch.math.matmul(
        input_tensor.logical.reshape(tokens, hidden),
        weight_tensor.logical.reshape(hidden, -1),
        bias_tensor.logical.reshape(-1, bias_tensor.shape[-1])[:1],
        product=Product(tokens, hidden, num_experts, weight=weight_tensor.dtype),
    )
    values, places = launch.math.top_of_rows(scores.bfloat16(), k)
    shares = launch.math.softmax(values)
    first, second = launch.outputs
    width = first.shape[-1]
    found = [torch.nn.functional.pad(x, (0, width - k)) for x in (places, shares)]
    return found[0].reshape(first.shape), found[1].reshape(second.shape)


def deepseek_grouped_gate(
    launch: Launch,
    scores: DeviceTensor,
    bias: DeviceTensor,
    *,
    n_groups: int = 8,
    summed_experts_per_group: int = 2,
    topk_groups: int = 4,
    n_activated_experts: int = 8,
    route_scale: float = 1.0,
    epsilon: float = 1e-20,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and experts of each token: of the best groups the best, by sigmoid and bias."""
    gate = GroupedGate(
        n_groups, summed_experts_per_group, topk_groups, n_activated_experts, route_scale, epsilon
    )
    return launch.math.grouped_gate(scores.logical, bias.logical, gate)


BINDINGS = {
    "ttnn.experimental.deepseek_grouped_gate": deepseek_grouped_gate,
    "ttnn.experimental.topk_router_gpt": topk_router_gpt,
    "ttnn.moe": moe,
    "ttnn.moe_expert_token_remap": moe_expert_token_remap,
    "ttnn.moe_routing_remap": moe_routing_remap,
}
