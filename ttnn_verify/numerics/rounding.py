"""The roundings that the matrix and the vector unit of a Wormhole document, one function each.

`ttnn_verify.numerics.op_floors` computes its floors with them. Tensors are float32; each docstring
says how many significant bits their values have. `fp32_dest_acc` says whether the destination
register has 32 bits or 16. Sources: the Wormhole B0 pages of tt-isa-documentation (MVMUL, ELWMUL,
ELWADD, Dst, packer and unpacker format conversion), and the kernels named.
"""

import math

import torch

from ttnn_verify.numerics import metrics
from ttnn_verify.numerics.formats import BLOCK_BITS, TILE

# Leading bits of a significand that the multiplier takes first; the rest follows in another phase.
# SrcB holds the first operand of a matmul, SrcA the second.
FIRST_BITS = {"SrcB": 7, "SrcA": 5}

# An operand has at most the 11 bits of a TF32, and the multiplier never reads the last one of SrcA.
OPERAND_BITS = {"SrcB": 11, "SrcA": 10}

TF32_BITS = 11
BF16_BITS = 8

EXPONENT_FIELD = 0x7F800000  # of a float32
HALF = torch.tensor(0.5)

# The partial products that a fidelity adds up, in this order: (part of SrcB, part of SrcA), where
# part 0 is the first bits and part 1 the rest.
PHASES = {
    "LoFi": [(0, 0)],
    "HiFi2": [(0, 0), (0, 1)],
    "HiFi3": [(0, 0), (0, 1), (1, 0)],
    "HiFi4": [(0, 0), (0, 1), (1, 0), (1, 1)],
}

# Terms in a 16-bit destination are aligned to this many bits after the leading one of the greatest.
ALIGNED_BITS = 10

# The straight line that replaces 2^z between two powers of two has the least error when shifted
# down by this much (ckernel_sfpu_exp.h: 127 - 32500.818 / 256; Schraudolph, Neural Computation 11,
# 1999).
LINE_OFFSET = 127 - 32500.818359375 / 256
LINE_STEPS = 256  # steps of the line between two powers of two


def cut(x: torch.Tensor, bits: int) -> torch.Tensor:
    """x truncated to its leading `bits` significant bits."""
    return (x.contiguous().view(torch.int32) & -(1 << 24 - bits)).view(torch.float32)


def nearest(x: torch.Tensor, bits: int) -> torch.Tensor:
    """x rounded to `bits` significant bits, ties away from zero."""
    # a carry out of the significand raises the exponent, as it should
    return cut((x.contiguous().view(torch.int32) + (1 << 23 - bits)).view(torch.float32), bits)


def power(x: torch.Tensor) -> torch.Tensor:
    """The largest power of two that is at most |x|; 2^-100 for zero, too small to matter."""
    exponent = x.contiguous().view(torch.int32) & EXPONENT_FIELD
    return exponent.view(torch.float32).clamp(min=2.0**-100)


def blocks(x: torch.Tensor, dtype: str) -> torch.Tensor:
    """The host's conversion to "bfloat8_b" or "bfloat4_b": the nearest multiple of a block's step.

    The result has the bits of the format, in float32.
    """
    step = metrics.unit(x, dtype).float()
    most = 2 ** BLOCK_BITS[dtype] - 1
    return (x.float() / step).round().clamp(-most, most) * step


def phases(
    b: torch.Tensor, a: torch.Tensor, fidelity: str
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The pairs of parts of `b` (SrcB) and `a` (SrcA) that are multiplied at a fidelity."""
    split = []
    for x, source in ((b, "SrcB"), (a, "SrcA")):
        first = cut(x, FIRST_BITS[source])
        split.append((first, cut(x, OPERAND_BITS[source]) - first))
    return [(split[0][i], split[1][j]) for i, j in PHASES[fidelity]]


def accumulate(destination: torch.Tensor, term: torch.Tensor, fp32_dest_acc: bool) -> torch.Tensor:
    """destination + term as the destination register adds them.

    In a 16-bit register both are first rounded to `ALIGNED_BITS` after the leading bit of the
    greater, where one value in eight is a tie, and the sum to 8 bits, ties away from zero. A long
    sum of terms of one sign therefore grows too large.
    """
    if fp32_dest_acc:
        return destination + term
    step = power(torch.maximum(destination.abs(), term.abs())) * 2.0**-ALIGNED_BITS
    steps = step.reciprocal()  # of a power of two, exact
    aligned = torch.trunc(destination * steps + torch.copysign(HALF, destination))
    added = torch.floor(term * steps + HALF)
    return nearest((aligned + added) * step, BF16_BITS)


def add(a: torch.Tensor, b: torch.Tensor, fp32_dest_acc: bool) -> torch.Tensor:
    """a + b in the matrix unit.

    In 32 bits the operands are aligned as well, but the sum is not rounded. An operand has no more
    than `ALIGNED_BITS` after its leading bit, so the greater one is not changed.
    """
    if not fp32_dest_acc:
        return accumulate(a, b, fp32_dest_acc)
    step = power(torch.maximum(a.abs(), b.abs())) * 2.0**-ALIGNED_BITS
    aligned = (torch.trunc(x / step + torch.copysign(HALF, x)) * step for x in (a, b))
    return sum(aligned, torch.zeros(()))


def multiply(b: torch.Tensor, a: torch.Tensor, fidelity: str, fp32_dest_acc: bool) -> torch.Tensor:
    """b * a elementwise in the matrix unit: one addition to the destination per phase."""
    total = torch.zeros(torch.broadcast_shapes(b.shape, a.shape))
    for first, second in phases(b, a, fidelity):
        total = accumulate(total, first * second, fp32_dest_acc)
    return total


def distinct_rows(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The rows of a matrix `[..., M, K]` but those equal to the last one, and which each of M is.

    Of a decode step whose batch has idle rows; (x, None) where there is nothing to be saved.
    """
    rows, width = x.shape[-2:]
    if rows < 3 or x.numel() != rows * width or not x[..., -2, :].equal(x[..., -1, :]):
        return x, None
    others = torch.nonzero((x != x[..., -1:, :]).reshape(rows, width).any(-1)).flatten()
    which = torch.full((rows,), len(others))
    which[others] = torch.arange(len(others))
    return x[..., torch.cat((others, torch.tensor([rows - 1]))), :], which


def independent_rows(x: torch.Tensor) -> float:
    """How many rows of `[..., W]` an error has that equal rows share, where each counts as often
    as it occurs: the participation ratio. Rows that are not finite do not count.
    """
    rows = x.reshape(-1, x.shape[-1])
    counts = rows[rows.isfinite().all(-1)].unique(dim=0, return_counts=True)[1].double()
    return float(counts.sum() ** 2 / counts.square().sum()) if len(counts) else 1.0


def dot(
    b: torch.Tensor,
    a: torch.Tensor,
    fidelity: str,
    k_block: int | None = None,
    l1_acc: bool = False,
) -> torch.Tensor:
    """Matrix product `[..., M, K]` by `[..., K, N]` into a 16-bit destination; K a multiple of 32.

    A step adds 16 products; each phase goes over the two steps of a tile again. With `l1_acc` the
    sums of blocks of `k_block` tiles are added up outside of the destination, in bfloat16, and the
    last block continues from that sum (bmm_large_block_zm_fused_bias_activation.cpp).
    """
    b, which = distinct_rows(b)
    zero = torch.zeros(
        *torch.broadcast_shapes(b.shape[:-2], a.shape[:-2]), b.shape[-2], a.shape[-1]
    )
    tiles = b.shape[-1] // TILE
    block = (k_block or tiles) if l1_acc else tiles
    total = partial = zero
    for tile in range(tiles):
        if tile % block == 0:  # a new block
            if tile:
                partial = (partial + total).bfloat16().float() if tile > block else total
            total = partial if tile + block >= tiles and tile else zero
        columns = slice(TILE * tile, TILE * tile + TILE)
        for first, second in phases(b[..., columns], a[..., columns, :], fidelity):
            for half in (slice(0, 16), slice(16, 32)):
                term = first[..., half] @ second[..., half, :]
                total = accumulate(total, term, fp32_dest_acc=False)
    return total if which is None else total[..., which, :]


def row_sum(x: torch.Tensor, fidelity: str, fp32_dest_acc: bool) -> torch.Tensor:
    """Sum over the last dimension, `[..., K]` -> `[..., 1]`: a product with a column of ones."""
    if fp32_dest_acc:
        return cut(x, TF32_BITS).double().sum(-1, keepdim=True).float()
    x = torch.nn.functional.pad(x, (0, -x.shape[-1] % TILE))
    return dot(x, torch.ones(x.shape[-1], 1), fidelity)


def group_alignment(b: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    """Standard deviation that aligning the products gives each element of b @ a, `[..., M, N]`.

    Eight products at a time are added as integers in units of 2^-10 of the power of two of the
    greatest, here bounded by the greatest of each operand. The error is uniform within a unit.
    """
    powers = []
    for x in (b, a.transpose(-1, -2)):
        groups = torch.nn.functional.pad(x, (0, -x.shape[-1] % 8)).unflatten(-1, (-1, 8))
        powers.append(power(groups.abs().amax(-1)).double().square())
    variance = 8 / 12 * 2.0 ** (-2 * ALIGNED_BITS) * (powers[0] @ powers[1].transpose(-1, -2))
    return variance.sqrt()


def line_exp(x: torch.Tensor) -> torch.Tensor:
    """The approximate exponential of the kernels: straight lines between the powers of two.

    Each line has 256 steps. The result is off by -3.1 % to +3.1 %.
    """
    z = torch.floor((x * math.log2(math.e) - LINE_OFFSET) * LINE_STEPS + 0.5) / LINE_STEPS
    whole = torch.floor(z)
    # flushed to zero below the smallest normal number
    return torch.where(whole < -126, 0.0, torch.exp2(whole.clamp(min=-126)) * (1 + z - whole))
