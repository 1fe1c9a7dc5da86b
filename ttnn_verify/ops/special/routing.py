"""Which experts a token goes to and with what weight, by kernels of their own.

S tokens, H hidden, E experts, K experts of a token. Where scores are nearer to each other than
their roundings, which expert comes first is not known: such tokens are left out.
"""

from collections.abc import Callable

import torch

from ttnn_verify.numerics import metrics, op_floors, tolerance
from ttnn_verify.numerics.compute_config import ComputeConfig
from ttnn_verify.ops.expected import CallContext, Expected
from ttnn_verify.ops.spec import OpSpec

# The router's own product, whose partial sums are packed to bfloat16 (topk_router_gpt/compute.cpp).
ROUTER = ComputeConfig()


def deepseek_grouped_gate(
    context: CallContext,
    scores: torch.Tensor,
    bias: torch.Tensor,
    *,
    n_groups: int = 8,
    summed_experts_per_group: int = 2,
    topk_groups: int = 4,
    n_activated_experts: int = 8,
    route_scale: float = 1.0,
) -> list[Expected]:
    """Weights and numbers [..., S, K] of experts by scores and bias [..., S, E] (DeepSeek-V3).

    Groups are ranked by the sum of their best biased sigmoids, experts of the best groups by their
    own; weights are the sigmoids without bias, over their sum.
    """
    likely = scores.double().sigmoid()
    biased = likely + bias.double()
    groups = biased.unflatten(-1, (n_groups, -1))
    best = groups.topk(summed_experts_per_group, -1).values
    totals = best.sum(-1)
    order = totals.argsort(-1, descending=True)
    closed = torch.ones_like(totals, dtype=torch.bool).scatter(-1, order[..., :topk_groups], False)
    offered = groups.masked_fill(closed[..., None], -torch.inf).flatten(-2)
    ranked, places = offered.topk(n_activated_experts + 1, -1)
    places = places[..., :n_activated_experts]
    chosen = likely.gather(-1, places)
    weights = chosen / chosen.sum(-1, keepdim=True) * route_scale
    # a score is rounded twice, a total of such once more
    off = metrics.unit(best, "bfloat16").sum(-1) + metrics.unit(totals, "bfloat16") / 2
    edge = order[..., topk_groups - 1 : topk_groups + 1]
    certain = _apart(totals.gather(-1, edge), off.gather(-1, edge))
    certain &= _apart(ranked, metrics.unit(ranked.nan_to_num(neginf=0.0), "bfloat16"))

    def floor() -> op_floors.Floor:
        """A sigmoid, then the sum, its inverse, their product and that with the scale."""
        sigmoid = op_floors.vector(weights, context.out, "sigmoid")
        return op_floors.chain(sigmoid, *[op_floors.output(weights, context.out)] * 4)

    return [_of_rows(weights, certain, floor), _of_rows(places, certain)]


def _apart(ordered: torch.Tensor, off: torch.Tensor) -> torch.Tensor:
    """Bool of the rows of [..., n] whose neighbours keep their order, each off by that at most."""
    return (ordered[..., :-1] - ordered[..., 1:] > off[..., :-1] + off[..., 1:]).all(-1)


def _of_rows(
    value: torch.Tensor,
    certain: torch.Tensor,
    floor: Callable[[], op_floors.Floor] | None = None,
) -> Expected:
    """The expected value, or that of its certain rows."""
    if certain.all():
        return Expected(value, floor)
    return Expected(value[certain], floor, certain)


def topk_router_gpt(
    context: CallContext,
    input_tensor: torch.Tensor,
    *,
    weight_tensor: torch.Tensor,
    bias_tensor: torch.Tensor,
    k: int = 4,
    num_experts: int = 128,
) -> list[Expected]:
    """Numbers and weights [S, K] of experts by x [S, H] @ weight [H, E] + bias [S, E].

    The weights are the softmax of the K largest scores, with the approximate exponential.
    """
    x = input_tensor.reshape(input_tensor.shape[-2:])
    weight = weight_tensor.reshape(weight_tensor.shape[-2:])
    scores = x.double() @ weight.double() + bias_tensor.double().reshape(-1, num_experts)[: len(x)]
    ranked, places = scores.topk(k + 1, -1)
    values, places = ranked[..., :k], places[..., :k]
    shares = values.softmax(-1)
    noise = op_floors.matmul(x, weight, compute=ROUTER)
    size = scores.square().mean().sqrt()
    off = tolerance.K * noise.worst_row * size + metrics.unit(ranked, "bfloat16") / 2
    certain = _apart(ranked, off)

    def floor() -> op_floors.Floor:
        """What scores that are off, and kept in bfloat16, make of a softmax, and its own."""
        scored = noise.relative_l2 * float(size)
        own = op_floors.softmax(values, exp_approximate=True, fp32_dest_acc=False)
        kept = op_floors.between(shares, values.bfloat16().double().softmax(-1))
        return op_floors.chain(own, kept, op_floors.Floor(scored, scored))

    return [_of_rows(places, certain), Expected(shares, floor)]


def moe_routing_remap(
    context: CallContext,
    routing_weights_tensor: torch.Tensor,
    non_zero_weight_size: int,
    expert_parallel_size: int,
    cluster_axis: int,
) -> Expected:
    """Of the weights [1, E] that are not zero those of the chip's turn, zeros elsewhere."""
    rows_and_columns = divmod(context.chip, context.mesh[1])
    each = non_zero_weight_size // expert_parallel_size
    first = rows_and_columns[cluster_axis] * each
    weights = routing_weights_tensor.flatten()
    own = weights.nonzero().flatten()[first : first + each]
    value = torch.zeros_like(weights).index_copy(0, own, weights[own])
    return Expected(value.reshape(routing_weights_tensor.shape))


def moe_expert_token_remap(
    context: CallContext,
    topk_tensor: torch.Tensor,
    expert_mapping_tensor: torch.Tensor,
    expert_metadata_tensor: torch.Tensor,
    *,
    reduction_size: int = 16,
) -> list[Expected]:
    """Weights [..., S, experts of the chip] of each token, and which expert any of some needs.

    Weights are [..., S, E], the mapping [1, 1, E, chips] has 1 where an expert is, the metadata
    [..., S, K] names each token's experts. The second result has a row for each `reduction_size`
    tokens. Experts that are planned for and not there are left out.
    """
    count = topk_tensor.shape[-1]
    own = (expert_mapping_tensor.reshape(count, -1)[:, context.chip] == 1).nonzero().flatten()
    named = torch.zeros_like(topk_tensor, dtype=torch.bool)
    named = named.scatter(-1, expert_metadata_tensor.reshape(*topk_tensor.shape[:-1], -1), True)
    weights = torch.where(named, topk_tensor, 0.0)[..., own]
    needed = named[..., own].reshape(-1, reduction_size, len(own)).any(1).long()
    region = (Ellipsis, slice(0, len(own)))
    return [Expected(weights, None, region), Expected(needed[None, None], None, region)]


SPECS = (
    OpSpec(  # an epsilon as small changes no sum of sigmoids
        ("deepseek_grouped_gate",), deepseek_grouped_gate, neutral={"epsilon": (1e-20,)}
    ),
    OpSpec(("topk_router_gpt",), topk_router_gpt),
    OpSpec(("moe_routing_remap",), moe_routing_remap),
    OpSpec(
        ("moe_expert_token_remap",),
        moe_expert_token_remap,
        ignored=frozenset({"optional_output_mapping_tensor", "optional_output_reduced_tensor"}),
    ),
)
