"""The roundings that the matrix and the vector unit of a Wormhole document, one function each.

`ttnn_verify.numerics.op_floors` computes its floors with them. Values are float32 tensors; a value is as wide as it is
said to be, not as its type could hold. Sources: the Wormhole B0 pages of tt-isa-documentation (MVMUL,
ELWMUL, ELWADD, Dst, packer and unpacker format conversion), and the kernels named.
"""

import math

import torch

from ttnn_verify.numerics import metrics

# Bits of a significand that the multiplier takes at a time: of the first operand of a matmul (SrcB)
# seven, then the rest; of the second (SrcA) five, then the rest.
FIRST_BITS = {"SrcB": 7, "SrcA": 5}

# An operand has at most the bits of a TF32, and the multiplier never reads SrcA's last one.
OPERAND_BITS = {"SrcB": 11, "SrcA": 10}

TF32_BITS = 11
BF16_BITS = 8

EXPONENT_FIELD = 0x7F800000  # of a float32
HALF = torch.tensor(0.5)

# Which products of (first, rest) a fidelity adds up, in this order: (of SrcB, of SrcA).
PHASES = {
    "LoFi": [(0, 0)],
    "HiFi2": [(0, 0), (0, 1)],
    "HiFi3": [(0, 0), (0, 1), (1, 0)],
    "HiFi4": [(0, 0), (0, 1), (1, 0), (1, 1)],
}

# Bits after the leading one of the greatest to which terms are aligned in a 16-bit destination.
ALIGNED_BITS = 10

# The line that takes the place of 2^z between two powers of two errs least when it lies this much
# lower (ckernel_sfpu_exp.h: 127 - 32500.818 / 256; Schraudolph, Neural Computation 11, 1999).
LINE_OFFSET = 127 - 32500.818359375 / 256
LINE_STEPS = 256  # steps of the line between two powers of two


def cut(x, bits):
    """The leading `bits` significant bits; the rest is dropped."""
    return (x.contiguous().view(torch.int32) & -(1 << 24 - bits)).view(torch.float32)


def nearest(x, bits):
    """The nearest value of `bits` significant bits, ties away from zero."""
    # a carry out of the significand raises the exponent, as it should
    return cut((x.contiguous().view(torch.int32) + (1 << 23 - bits)).view(torch.float32), bits)


def power(x):
    """The power of two at or below |x|; of zero, one too small to matter."""
    exponent = x.contiguous().view(torch.int32) & EXPONENT_FIELD
    return exponent.view(torch.float32).clamp(min=2.0**-100)


def blocks(x, dtype):
    """The host's conversion to bfloat8_b or bfloat4_b: nearest code under a block's exponent."""
    step = metrics.unit(x, dtype).float()
    most = 2 ** metrics.BLOCK_BITS[dtype] - 1
    return (x.float() / step).round().clamp(-most, most) * step


def phases(b, a, fidelity):
    """What the multiplier multiplies at a fidelity: pairs of parts of `b` (SrcB) and `a` (SrcA)."""
    split = []
    for x, source in ((b, "SrcB"), (a, "SrcA")):
        first = cut(x, FIRST_BITS[source])
        split.append((first, cut(x, OPERAND_BITS[source]) - first))
    return [(split[0][i], split[1][j]) for i, j in PHASES[fidelity]]


def accumulate(destination, term, wide):
    """Add a term to the destination, of 32 bits (`wide`) or 16.

    In 16 bits both are first rounded to `ALIGNED_BITS` of the greater, where one in eight is a tie,
    and the sum to 8 bits, ties away from zero. A long sum of one sign grows too large by this.
    """
    if wide:
        return destination + term
    step = power(torch.maximum(destination.abs(), term.abs())) * 2.0**-ALIGNED_BITS
    steps = step.reciprocal()  # of a power of two, exact
    kept = torch.trunc(destination * steps + torch.copysign(HALF, destination))
    added = torch.floor(term * steps + HALF)
    return nearest((kept + added) * step, BF16_BITS)


def add(a, b, wide):
    """Sum of two operands in the matrix unit: in 32 bits they are aligned too, the sum is not rounded.

    `ALIGNED_BITS` are those of an operand, so the greater is as it was.
    """
    if not wide:
        return accumulate(a, b, wide)
    step = power(torch.maximum(a.abs(), b.abs())) * 2.0**-ALIGNED_BITS
    return sum(torch.trunc(x / step + torch.copysign(HALF, x)) * step for x in (a, b))


def multiply(b, a, fidelity, wide):
    """Elementwise product in the matrix unit: one addition to the destination per phase."""
    total = torch.zeros(torch.broadcast_shapes(b.shape, a.shape))
    for first, second in phases(b, a, fidelity):
        total = accumulate(total, first * second, wide)
    return total


def dot(b, a, fidelity, k_block=None, l1_acc=False):
    """Matrix product `[..., M, K]` by `[..., K, N]` into a 16-bit destination.

    A step adds 16 products; the steps of a tile of 32 are taken anew in each phase. With `l1_acc` the
    sums of blocks of `k_block` tiles are added up outside, in bfloat16, and the last block goes on
    from there (bmm_large_block_zm_fused_bias_activation.cpp). K is a multiple of 32.
    """
    zero = torch.zeros(
        *torch.broadcast_shapes(b.shape[:-2], a.shape[:-2]), b.shape[-2], a.shape[-1]
    )
    tiles = b.shape[-1] // 32
    block = (k_block or tiles) if l1_acc else tiles
    total = partial = zero
    for tile in range(tiles):
        if tile % block == 0:  # a new block
            if tile:
                partial = (partial + total).bfloat16().float() if tile > block else total
            total = partial if tile + block >= tiles and tile else zero
        columns = slice(32 * tile, 32 * tile + 32)
        for first, second in phases(b[..., columns], a[..., columns, :], fidelity):
            for half in (slice(0, 16), slice(16, 32)):
                total = accumulate(total, first[..., half] @ second[..., half, :], wide=False)
    return total


def row_sum(x, fidelity, wide):
    """Sum over the last dimension `[..., K]` -> `[..., 1]`: a product with a column of ones."""
    if wide:
        return cut(x, TF32_BITS).double().sum(-1, keepdim=True).float()
    x = torch.nn.functional.pad(x, (0, -x.shape[-1] % 32))
    return dot(x, torch.ones(x.shape[-1], 1), fidelity)


def group_alignment(b, a):
    """Standard deviation of each element of b @ a from the alignment of products, `[..., M, N]`.

    Eight products at a time are added as integers, on a step of 2^-10 of the greatest's power of two.
    That is at most the greatest of each operand's powers; uniform within the step.
    """
    powers = []
    for x in (b, a.transpose(-1, -2)):
        groups = torch.nn.functional.pad(x, (0, -x.shape[-1] % 8)).unflatten(-1, (-1, 8))
        powers.append(power(groups.abs().amax(-1)).double().square())
    variance = 8 / 12 * 2.0 ** (-2 * ALIGNED_BITS) * (powers[0] @ powers[1].transpose(-1, -2))
    return variance.sqrt()


def line_exp(x):
    """e^x by straight lines between the powers of two, the approximate exponential of the kernels.

    The line is read at steps of 1/256 of a power of two. Off by -3.1 % to +3.1 %.
    """
    z = torch.floor((x * math.log2(math.e) - LINE_OFFSET) * LINE_STEPS + 0.5) / LINE_STEPS
    whole = torch.floor(z)
    # below the least normal number there is zero
    return torch.where(whole < -126, 0.0, torch.exp2(whole.clamp(min=-126)) * (1 + z - whole))
