"""Faults of heads: fused projections that are split wrongly, heads that are joined wrongly.

B batch, S sequence, N heads, K kv heads, D head_dim.
"""

import torch

from .cache_faults import PAGED_FILL
from .inject import Fault, calls, first_operand, holding, in_layers, kernels

# --- of the device's kernels ---------------------------------------------------------------------


def fused_heads(order):
    """A change of the kernels that split q, k and v: they find the heads in another order.

    `order(heads, n, k)` of [..., N + 2 K, D] returns the same shape.
    """

    def of(kernel):
        def faulty(launch, fused, *args, num_heads, num_kv_heads=None, **kwargs):
            kv_heads = num_kv_heads or num_heads
            heads = fused.data.unflatten(-1, (num_heads + 2 * kv_heads, -1))
            other = order(heads, num_heads, kv_heads).flatten(-2)
            counts = {"num_heads": num_heads, "num_kv_heads": num_kv_heads}
            return kernel(launch, holding(fused, other), *args, **counts, **kwargs)

        return faulty

    return of


def k_before_q(heads, n, k):
    return torch.cat((heads[..., k : k + n, :], heads[..., :k, :], heads[..., k + n :, :]), -2)


def v_before_k(heads, n, k):
    return torch.cat((heads[..., :n, :], heads[..., n + k :, :], heads[..., n : n + k, :]), -2)


def by_group(heads, n, k):
    """As GPT-NeoX and Falcon fuse them: each group's queries, then its key and its value."""
    groups = torch.arange(n + 2 * k).view(k, -1)
    order = torch.cat((groups[:, :-2].flatten(), groups[:, -2], groups[:, -1]))
    return heads[..., order, :]


def head_of_every_nth_column(heads, n, k):
    """Head h is columns h, h + N, h + 2 N, ... instead of D neighbours."""
    query = heads[..., :n, :].flatten(-2).unflatten(-1, (-1, n)).transpose(-1, -2)
    return torch.cat((query, heads[..., n:, :]), -2)


def untransposed(kernel):
    """Heads are joined by looking at the buffer as [S, N D]."""

    def faulty(launch, x):
        return x.data.reshape(launch.output.padded_shape)

    return faulty


CREATE = "ttnn.experimental.nlp_create_qkv_heads"
CREATE_DECODE = "ttnn.experimental.nlp_create_qkv_heads_decode"
CONCAT = "ttnn.experimental.nlp_concat_heads"


def splitting(name, order, operation=CREATE):
    table_name = operation.rpartition(".")[2]
    return Fault(name, "ops", kernels(operation, fused_heads(order)), (table_name,))


KERNELS = [
    splitting("q and k exchanged", k_before_q),
    splitting("k and v exchanged", v_before_k),
    splitting("q k v fused by group", by_group),
    splitting("head of every nth column", head_of_every_nth_column),
    splitting("q and k exchanged in decode", k_before_q, CREATE_DECODE),
    splitting("k and v exchanged in decode", v_before_k, CREATE_DECODE),
    Fault("heads joined untransposed", "ops", kernels(CONCAT, untransposed), ("nlp_concat_heads",)),
    Fault(
        "heads joined in reverse",
        "ops",
        kernels(CONCAT, first_operand(lambda x: x.flip(1))),
        ("nlp_concat_heads",),
    ),
]

# --- of the model --------------------------------------------------------------------------------


def q_and_k_exchanged(create_heads):
    def faulty(*args, **kwargs):
        q, k, v = create_heads(*args, **kwargs)
        return k, q, v

    return faulty


FAULTS = [
    *KERNELS,
    in_layers(
        "q and k exchanged after the projection",
        calls(CREATE.removeprefix("ttnn."), q_and_k_exchanged),
        CREATE.rpartition(".")[2],
        # the rotation knows no names: the cache is the first to which it makes a difference
        place=(PAGED_FILL, 0),
        stage="optimized",
    ),
]
