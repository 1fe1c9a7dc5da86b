"""Products with a sum, of caches of which each user has one, of experts; by kernels of their own.

N heads, B users, D head_dim, T positions, E experts, M rows, K depth.
"""

import torch
import ttnn
from torch.nn import functional

from ttnn_verify.numerics import floors, op_floors

from .attention import ROWS
from .operands import on
from .opinfo import Op, Operand, Refused, Sample, plain

BF16, FP32 = ttnn.bfloat16, ttnn.float32
X = ttnn.experimental
GRID = ttnn.CoreCoord(8, 8)
LOFI = op_floors.ComputeConfig("LoFi", packer_l1_acc=False)
MINIMAL = op_floors.ComputeConfig("HiFi2", fp32_dest_acc=True)


def scaled(*shape):
    """Normal values, so that a product by them has the size of its other operand."""
    return plain(*shape) * shape[-2] ** -0.5


def largest(each):
    return floors.Floor(max(one.relative_l2 for one in each), max(one.worst_row for one in each))


# --- a product and a sum -------------------------------------------------------------------------


def sum_of(m, k, n, dtype=BF16, **factors):
    def make():
        return tuple(Operand(values, dtype) for values in (plain(m, n), plain(m, k), scaled(k, n)))

    note = "-".join(f"{name}-{value}" for name, value in factors.items())
    return Sample((m, k, n), make, dtype, note=note, kwargs={"factors": factors, "out": dtype})


def addmm_golden(x, a, b, *, factors, out):
    return torch.addmm(x, a, b, **factors)


def addmm_floor(golden, x, a, b, *, factors, out):
    """Each of the two terms may be off by its own floor, and they may cancel."""
    name = out.name.lower()
    terms = (factors.get("alpha", 1.0) * (a @ b), factors.get("beta", 1.0) * x)
    product = op_floors.matmul(a, b, weight_dtype=name, out=name)
    before = floors.chain(product, *(op_floors.output(term, name) for term in terms))
    whole = sum(float(term.norm()) for term in terms) / float(golden.norm())
    rows = sum(term.norm(dim=-1) for term in terms) / golden.norm(dim=-1)
    grown = floors.Floor(before.relative_l2 * whole, before.worst_row * float(rows.max()))
    return floors.chain(grown, op_floors.output(golden, name))


ADDMM = Op(
    "addmm",
    call=lambda x, a, b, *, factors, out: ttnn.addmm(x, a, b, **factors),
    golden=addmm_golden,
    floor=addmm_floor,
    samples=(
        sum_of(32, 64, 96),
        sum_of(37, 55, 41, alpha=0.5),
        sum_of(64, 37, 41, beta=-0.5),
        sum_of(4, 4, 4, alpha=1.5, beta=0.5),
        sum_of(32, 64, 32, alpha=-0.5, beta=0.0),
    ),
    references=(sum_of(128, 512, 128, alpha=1.5, beta=-0.5),),
    errors=(
        Refused(
            "alpha",
            lambda device: ttnn.addmm(*(on(device, plain(32, 32)) for _ in range(3)), alpha=0.0),
            "alpha parameter cannot be 0",
        ),
    ),
)

# --- caches --------------------------------------------------------------------------------------


def of_users(heads, depth, columns, kv_heads=1, **how):
    """Rows [1, N, 32, D] of 32 users, and a matrix [32, K, D, T] of each."""

    def make():
        return Operand(plain(1, heads, 32, depth)), Operand(scaled(32, kv_heads, depth, columns))

    return Sample((1, heads, 32, depth), make, note=f"{kv_heads}x{columns}", kwargs=how)


def of_users_golden(a, b):
    groups = a[0].unflatten(0, (b.shape[1], -1))
    return torch.einsum("gnbd,bgdt->gnbt", groups, b).flatten(0, 1)[None]


def of_users_floor(golden, a, b):
    tiles = -(-a.shape[-1] // 32)
    return largest(
        [op_floors.matmul(a[0, :, u], b[u, 0], k_block=tiles, compute=LOFI) for u in range(4)]
    )


def wrong_depth(operation):
    return Refused(
        "depth",
        lambda device: operation(
            on(device, plain(1, 2, 32, 64)),
            on(device, plain(32, 1, 96, 64)),
            compute_with_storage_grid_size=GRID,
        ),
        "ashape[3] == bshape[2]",
    )


ATTN_MATMUL = Op(
    "attn_matmul",
    call=lambda a, b: X.attn_matmul(a, b, compute_with_storage_grid_size=GRID),
    golden=of_users_golden,
    floor=of_users_floor,
    samples=(of_users(2, 64, 96), of_users(3, 32, 32)),
    references=(of_users(8, 64, 128),),
    errors=(wrong_depth(X.attn_matmul),),
)

GROUP_ATTN_MATMUL = Op(
    "group_attn_matmul",
    call=lambda a, b: X.group_attn_matmul(a, b, compute_with_storage_grid_size=GRID),
    golden=of_users_golden,
    floor=of_users_floor,
    samples=(of_users(4, 64, 96, 2), of_users(2, 32, 32)),
    references=(of_users(16, 64, 128, 2),),
    errors=(wrong_depth(X.group_attn_matmul),),
)


def from_cache(heads, depth, tokens, transposed):
    """Scores of rows [1, N, 32, D] with a cache [32, 1, 128, D], or its values weighted by rows."""
    rows = -(-tokens // 32) * 32
    shape = (1, heads, 32, depth if transposed else rows)

    def make():
        return Operand(plain(*shape)), Operand(scaled(32, 1, 128, depth))

    note = f"{tokens}-tokens" + ("-transposed" if transposed else "")
    how = {"num_tokens": tokens, "transpose_hw": transposed}
    return Sample(shape, make, note=note, kwargs=how)


def matrices(b, num_tokens, transpose_hw):
    rows = b[:, :, : -(-num_tokens // 32) * 32]
    return rows.mT if transpose_hw else rows


FROM_CACHE = Op(
    "attn_matmul_from_cache",
    call=lambda a, b, **how: X.attn_matmul_from_cache(
        a, b, compute_with_storage_grid_size=GRID, **how
    ),
    golden=lambda a, b, **how: of_users_golden(a, matrices(b, **how)),
    floor=lambda golden, a, b, **how: of_users_floor(golden, a, matrices(b, **how)),
    samples=(from_cache(2, 64, 40, True), from_cache(2, 64, 33, False)),
    references=(from_cache(8, 64, 128, True),),
    errors=(
        Refused(
            "tokens",
            lambda device: X.attn_matmul_from_cache(
                on(device, plain(1, 2, 32, 64)),
                on(device, plain(32, 1, 64, 64)),
                num_tokens=100,
                transpose_hw=True,
                compute_with_storage_grid_size=GRID,
            ),
            "num_tokens <=",
        ),
    ),
)

# --- kernels of their own ------------------------------------------------------------------------


def minimal(m, k, n, bias=False, activation=None, parts=1):
    def make():
        operands = [Operand(plain(1, 1, m, k)), Operand(scaled(k, n))]
        if bias:
            operands.append(Operand(plain(1, n)))
        return tuple(operands)

    note = "-".join(filter(None, ("bias" if bias else "", activation or "")))
    how = {"activation": activation, "parts": parts}
    return Sample((1, 1, m, k), make, note=note or f"{n}-columns", kwargs=how)


def minimal_call(a, b, bias=None, *, activation, parts):
    fused = activation and ttnn.UnaryWithParam(getattr(ttnn.UnaryOpType, activation.upper()))
    how = {"bias_tensor": bias, "fused_activation": fused}
    if parts > 1:
        return X.minimal_matmul_split(a, b, chunks=parts, dim=-1, **how)
    return X.minimal_matmul(a, b, **how)


def minimal_golden(a, b, bias=None, *, activation, parts):
    y = functional.linear(a, b.mT, None if bias is None else bias.flatten())
    y = functional.relu(y) if activation == "relu" else y
    return list(y.chunk(parts, -1)) if parts > 1 else y


def minimal_floor(golden, a, b, bias=None, *, activation, parts):
    product = op_floors.matmul(
        a.flatten(0, -2), b, bias=None if bias is None else bias.flatten(), compute=MINIMAL
    )
    return floors.chain(product, op_floors.output(golden, "bfloat16"))


MINIMAL_MATMUL = Op(
    "minimal_matmul",
    call=minimal_call,
    golden=minimal_golden,
    floor=minimal_floor,
    samples=(
        minimal(64, 256, 128),
        minimal(37, 96, 64),
        minimal(32, 64, 64, bias=True, activation="relu"),
    ),
    references=(minimal(128, 1024, 256, bias=True),),
    errors=(
        Refused(
            "depth",
            lambda device: X.minimal_matmul(on(device, plain(32, 64)), on(device, plain(96, 32))),
            "inner dimensions must match",
        ),
    ),
)

MINIMAL_SPLIT = Op(
    "minimal_matmul_split",
    call=minimal_call,
    golden=minimal_golden,
    floor=minimal_floor,
    samples=(minimal(64, 256, 192, parts=3), minimal(37, 96, 64, parts=2)),
    references=(minimal(128, 512, 384, bias=True, parts=3),),
    errors=(
        Refused(
            "depth",
            lambda device: X.minimal_matmul_split(
                on(device, plain(32, 64)), on(device, plain(96, 64)), chunks=2, dim=-1
            ),
            "inner dimensions must match",
        ),
    ),
)

DECODE = Op(
    "matmul_decode",
    call=lambda a, b: X.matmul_decode(a, b),
    golden=lambda a, b: a @ b,
    floor=lambda golden, a, b: op_floors.matmul(
        a, b, k_block=1, compute=op_floors.ComputeConfig("LoFi")
    ),
    samples=(
        Sample(
            (32, 512),
            lambda: (
                Operand(plain(32, 512), memory="width"),
                Operand(scaled(512, 512), memory="width"),
            ),
            memory="width",
        ),
    ),
    references=(
        Sample(
            (32, 1024),
            lambda: (
                Operand(plain(32, 1024), memory="width"),
                Operand(scaled(1024, 1024), memory="width"),
            ),
            memory="width",
        ),
    ),
    errors=(
        Refused(
            "dram",
            lambda device: X.matmul_decode(on(device, plain(32, 64)), on(device, plain(64, 64))),
            "bad optional access",
        ),
    ),
)

# --- experts -------------------------------------------------------------------------------------

BLOCKS = ttnn.MatmulMultiCoreReuseMultiCast1DProgramConfig(
    compute_with_storage_grid_size=GRID,
    in0_block_w=2,
    out_subblock_h=1,
    out_subblock_w=1,
    out_block_h=1,
    out_block_w=1,
    per_core_M=1,
    per_core_N=1,
    fuse_batch=False,
    fused_activation=None,
    mcast_in0=True,
)


def experts(tokens, count, depth, columns, a_sparse=False):
    """Rows [A, B, 32, K], or [1, E, 32, K], weights [1, E, K, N], and which products are made."""
    shape = (1, count, 32, depth) if a_sparse else (*tokens, 32, depth)
    which = (1, 1, 1, count) if a_sparse else (*tokens, 1, count)

    def make():
        kept = (torch.arange(torch.Size(which).numel()).reshape(which) % 3 != 1).float()
        return (
            Operand(plain(*shape)),
            Operand(scaled(1, count, depth, columns)),
            Operand(kept, BF16, ROWS),
        )

    return Sample(shape, make, note=f"{count}-experts", kwargs={"a_sparse": a_sparse})


def experts_call(a, b, kept, *, a_sparse):
    return ttnn.sparse_matmul(
        a, b, sparsity=kept, program_config=BLOCKS, is_input_a_sparse=a_sparse
    )


def experts_golden(a, b, kept, *, a_sparse):
    if a_sparse:
        return torch.einsum("gemk,xekn->gemn", a, b) * kept[0, 0, :, :, None, None]
    y = torch.einsum("abmk,xekn->abemn", a, b)[:, :, None]
    return y * kept[..., None, None]


def experts_floor(golden, a, b, kept, *, a_sparse):
    compute = op_floors.ComputeConfig("LoFi")
    rows = a.flatten(0, -2)
    return largest([op_floors.matmul(rows, one, k_block=2, compute=compute) for one in b[0]])


SPARSE = Op(
    "sparse_matmul",
    call=experts_call,
    golden=experts_golden,
    floor=experts_floor,
    samples=(
        experts((1, 1), 4, 64, 96),
        experts((2, 3), 4, 64, 64),
        experts((1, 1), 3, 64, 64, a_sparse=True),
    ),
    references=(experts((1, 4), 8, 512, 128),),
    errors=(
        Refused(
            "layout",
            lambda device: ttnn.sparse_matmul(
                on(device, plain(1, 1, 32, 64)),
                on(device, plain(1, 2, 64, 64)),
                sparsity=on(device, plain(1, 1, 1, 2)),
                program_config=BLOCKS,
            ),
            "ROW_MAJOR",
        ),
    ),
)

OPS = [
    ADDMM,
    ATTN_MATMUL,
    GROUP_ATTN_MATMUL,
    FROM_CACHE,
    MINIMAL_MATMUL,
    MINIMAL_SPLIT,
    DECODE,
    SPARSE,
]
