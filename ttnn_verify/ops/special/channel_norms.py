"""Norms of channels: over groups of them, and over a batch.

N images, C channels, S = H * W places.
"""

import torch

from ttnn_verify.ops.expected import CallContext, Expected, NoGolden
from ttnn_verify.ops.spec import OpSpec
from ttnn_verify.ops.special.eltwise_pairs import expected

# Roundings between the kernels' buffers: less the mean, over the deviation, weight, bias.
STEPS = 4


def group_norm(
    context: CallContext,
    input_tensor: torch.Tensor,
    *,
    num_groups: int,
    epsilon: float = 1e-12,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
) -> Expected:
    """torch's group_norm of [N, 1, S, C] with C last.

    Raises:
        NoGolden: a weight or bias that has more places than channels, between which a core's
            channels are filled up to a tile.
    """
    channels = input_tensor.shape[-1]
    rows = {"weight": _flat(weight), "bias": _flat(bias)}
    if any(row is not None and row.numel() != channels for row in rows.values()):
        raise NoGolden("group_norm has no golden for a weight with gaps between its channels.")
    by_channel = input_tensor.double().flatten(1, 2).mT
    value = torch.nn.functional.group_norm(by_channel, num_groups, **rows, eps=epsilon)
    return expected(context, value.mT.reshape(input_tensor.shape), STEPS)


def batch_norm(
    context: CallContext,
    input: torch.Tensor,
    *,
    running_mean: torch.Tensor | None = None,
    running_var: torch.Tensor | None = None,
    eps: float = 1e-5,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
) -> Expected:
    """torch's batch_norm of [N, C, H, W] by given statistics [1, C, 1, 1]."""
    mean, variance = _flat(running_mean), _flat(running_var)
    value = torch.nn.functional.batch_norm(
        input.double(), mean, variance, _flat(weight), _flat(bias), eps=eps
    )
    return expected(context, value, STEPS)


def _flat(row: torch.Tensor | None) -> torch.Tensor | None:
    return None if row is None else row.double().flatten()


SPECS = (
    OpSpec(
        ("group_norm",),
        group_norm,
        ignored=frozenset(
            {
                *("input_mask", "negative_mask", "inplace", "num_out_blocks"),
                *("output_layout", "use_welford"),
            }
        ),
    ),
    OpSpec(
        ("batch_norm",),
        batch_norm,
        neutral={"training": (False,)},
        ignored=frozenset({"momentum", "output"}),
    ),
)
