"""Products with a sum, of caches, and of experts; by kernels of their own.

N heads, K kv heads, B users, D head_dim, T positions, E experts, M rows.
"""

from collections.abc import Sequence

import torch

from ttnn_verify.numerics import op_floors
from ttnn_verify.numerics.compute_config import ComputeConfig
from ttnn_verify.numerics.formats import TILE
from ttnn_verify.ops.expected import CallContext, Expected, NoGolden, applied, functions_of
from ttnn_verify.ops.spec import OpSpec

# What TTNN computes these with where it is told nothing.
OF_CACHES = ComputeConfig("LoFi", packer_l1_acc=False)
MINIMAL = ComputeConfig("HiFi2", fp32_dest_acc=True)
PLANNED = ComputeConfig("LoFi")  # beside a program config


def addmm(
    context: CallContext,
    input_tensor: torch.Tensor,
    mat1_tensor: torch.Tensor,
    mat2_tensor: torch.Tensor,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
) -> Expected:
    """beta * input + alpha * (mat1 @ mat2), each step rounded to the format of its result."""
    product = mat1_tensor.double() @ mat2_tensor.double()
    parts = [alpha * product]
    if beta:
        parts.append(beta * input_tensor.double())
    value = torch.stack([part.expand(product.shape) for part in parts]).sum(0)

    def floor() -> op_floors.Floor:
        out = context.out
        floors = [
            op_floors.matmul(mat1_tensor, mat2_tensor, out=out, compute=context.compute),
            *[op_floors.output(part, out) for part in parts],
        ]
        scale = sum(float(part.norm()) for part in parts) / max(float(value.norm()), 1e-30)
        rows = [part.flatten(0, -2).norm(dim=-1) for part in parts]
        worst = (sum(rows) / value.flatten(0, -2).norm(dim=-1).clamp(min=1e-30)).max()
        before = op_floors.chain(*floors)
        grown = op_floors.Floor(before.relative_l2 * scale, before.worst_row * float(worst))
        return op_floors.chain(grown, op_floors.output(value, out))

    return Expected(value, floor)


def attn_matmul(
    context: CallContext,
    input_tensor_a: torch.Tensor,
    input_tensor_b: torch.Tensor,
    *,
    compute_with_storage_grid_size: object,
) -> Expected:
    """[1, N, B, D] with [B, K, D, T] -> [1, N, B, T]; N / K heads share a kv head."""
    a, b = input_tensor_a[0].transpose(0, 1), input_tensor_b  # [B, N, D]
    b = b.repeat_interleave(a.shape[1] // b.shape[1], 1)
    value = torch.einsum("bnd,bndt->nbt", a.double(), b.double())[None]

    def floor() -> op_floors.Floor:
        compute = context.compute or OF_CACHES
        tiles = -(-a.shape[-1] // TILE)
        each = [
            op_floors.matmul(rows[:1], matrix[0], k_block=tiles, compute=compute)
            for rows, matrix in zip(a, b, strict=True)
        ]
        return op_floors.Floor(
            max(one.relative_l2 for one in each), max(one.worst_row for one in each)
        )

    return Expected(value, floor)


def attn_matmul_from_cache(
    context: CallContext,
    input_tensor_a: torch.Tensor,
    input_tensor_b: torch.Tensor,
    *,
    num_tokens: int,
    transpose_hw: bool,
    compute_with_storage_grid_size: object,
) -> Expected:
    """`attn_matmul` with the tiles of the first `num_tokens` rows of a cache [B, 1, C, D]."""
    rows = input_tensor_b[:, :, : -(-num_tokens // TILE) * TILE]
    return attn_matmul(
        context,
        input_tensor_a,
        rows.mT if transpose_hw else rows,
        compute_with_storage_grid_size=compute_with_storage_grid_size,
    )


def minimal_matmul(
    context: CallContext,
    input_tensor: torch.Tensor | Sequence[torch.Tensor],
    weight_tensor: torch.Tensor,
    *,
    bias_tensor: torch.Tensor | None = None,
    fused_activation: object = None,
) -> Expected:
    """[..., M, K] @ [K, N] + bias, then the activation."""
    a = input_tensor if torch.is_tensor(input_tensor) else torch.cat(list(input_tensor), -1)
    bias = None if bias_tensor is None else bias_tensor.flatten()
    names = functions_of([fused_activation] if fused_activation else [])
    b = weight_tensor.reshape(weight_tensor.shape[-2:])
    value = a.double() @ b.double()
    value = applied(value if bias is None else value + bias.double(), names)

    def floor() -> op_floors.Floor:
        compute = context.compute or MINIMAL
        parts = [op_floors.matmul(a, b, bias=bias, out=context.out, compute=compute)]
        parts += [op_floors.output(value, context.out)]  # sums are copied from L1 once more
        parts += [op_floors.vector(value, context.out, name) for name in names]
        return op_floors.chain(*parts)

    return Expected(value, floor)


def minimal_matmul_split(
    context: CallContext,
    input_tensor: torch.Tensor,
    weight_tensor: torch.Tensor,
    *,
    chunks: int = 1,
    dim: int = -1,
    bias_tensor: torch.Tensor | None = None,
    fused_activation: object = None,
) -> list[Expected]:
    """`minimal_matmul` in `chunks` parts of its columns."""
    weights = weight_tensor.chunk(chunks, dim)
    biases = [None] * chunks if bias_tensor is None else bias_tensor.chunk(chunks, dim)
    return [
        minimal_matmul(
            context, input_tensor, weight, bias_tensor=bias, fused_activation=fused_activation
        )
        for weight, bias in zip(weights, biases, strict=True)
    ]


def matmul_decode(
    context: CallContext, input_tensor_a: torch.Tensor, input_tensor_b: torch.Tensor
) -> Expected:
    """[..., M, K] @ [K, N]."""
    a, b = input_tensor_a, input_tensor_b.reshape(input_tensor_b.shape[-2:])
    return Expected(
        a.double() @ b.double(),
        lambda: op_floors.matmul(a, b, out=context.out, compute=PLANNED, k_block=1),
    )


def sparse_matmul(
    context: CallContext,
    input_tensor_a: torch.Tensor,
    input_tensor_b: torch.Tensor,
    *,
    sparsity: torch.Tensor,
    nnz: int | None = None,
    is_input_a_sparse: bool = False,
    is_input_b_sparse: bool = True,
) -> Expected:
    """Products with each expert [1, E, K, N], zero where the sparsity is.

    Raises:
        NoGolden: a result that has the products alone which are not left out.
    """
    a, b = input_tensor_a.double(), input_tensor_b.double()
    left = a if is_input_a_sparse else a[:, :, None, None]
    value = left @ (b if is_input_a_sparse else b[None, None])
    kept = (sparsity != 0).reshape(*value.shape[:-2])
    value = value * kept[..., None, None]
    if context.shapes and tuple(context.shapes[0]) != tuple(value.shape):
        raise NoGolden(f"sparse_matmul has no golden for a result {list(context.shapes[0])}.")

    def floor() -> op_floors.Floor:
        compute = context.compute or PLANNED
        rows, last = a.flatten(0, -2), b.flatten(0, -3)
        each = [op_floors.matmul(rows, one, out=context.out, compute=compute) for one in last]
        return op_floors.Floor(
            max(one.relative_l2 for one in each), max(one.worst_row for one in each)
        )

    return Expected(value, floor)


SPECS = (
    OpSpec(("addmm",), addmm, family="products"),
    OpSpec(("attn_matmul", "group_attn_matmul"), attn_matmul, family="products"),
    OpSpec(("attn_matmul_from_cache",), attn_matmul_from_cache, family="products"),
    OpSpec(
        ("minimal_matmul",),
        minimal_matmul,
        kind="product",
        family="products",
        ignored=frozenset({"config"}),
        neutral={"fuse_swiglu": (False,)},
    ),
    OpSpec(
        ("minimal_matmul_split",),
        minimal_matmul_split,
        family="products",
        ignored=frozenset({"config"}),
        neutral={"fuse_swiglu": (False,)},
    ),
    OpSpec(
        ("matmul_decode",),
        matmul_decode,
        family="products",
        neutral={"partial_width_sharded": (False,)},
    ),
    OpSpec(
        ("sparse_matmul",),
        sparse_matmul,
        family="products",
        neutral={"indices": (), "bias": ()},
    ),
)
