"""Rotary embeddings and gated activations step by step, with their intermediate formats.

Tensors are float32 or bfloat16 and hold bfloat16 values; S rows, D head_dim.  Every step's result
is packed before the next one reads it: as bfloat16, or in the block format of what it goes by.
"""

import torch

from ttnn_emulator.arithmetic.exact.matrix import eltwise_unit
from ttnn_emulator.arithmetic.exact.matrix.matrix_unit import matmul
from ttnn_emulator.arithmetic.exact.packer import pack
from ttnn_emulator.arithmetic.exact.vector import vector_activations, vector_binary

TILE = 32


def rotary(x, cos, sin, *, table="bfloat16", out="bfloat16"):
    """Rotate by halves: x * cos + (-second half, first half) * sin.

    Args:
        x: [..., S, D].
        cos, sin: broadcastable to x; in decode the one row of the token.
        table: format of cos and sin, in which the products are packed too.
        out: format of x and of the result.

    Returns:
        [..., S, D] float32, rounded to `out`.

    rotary_embedding.cpp (and rotary_embedding_single_tile.cpp, rotary_embedding_hf.cpp): products
    of the matrix unit in HiFi4 and a 16-bit Dst.  `ttnn.experimental.rotary_embedding` accepts a
    compute kernel config and builds the same kernel whatever it says.
    """
    first, second = x.float().chunk(2, dim=-1)
    turned = torch.cat((-second, first), -1)
    return _turn(x, turned, cos, sin, "HiFi4", False, table, out)


def rotary_pairs(x, cos, sin, transformation, *, fidelity="HiFi4", fp32_dest=False):
    """Rotate by a transformation matrix: x * cos + (x @ transformation) * sin.

    Args:
        x: [..., S, D], D a multiple of 32.
        cos, sin: broadcastable to x.
        transformation: [32, 32], applied to each 32 columns of x.
        fidelity, fp32_dest: compute kernel config; the defaults are those of
            `ttnn.experimental.rotary_embedding_llama` without one.

    Returns:
        [..., S, D] float32, rounded to bfloat16.

    rotary_embedding_llama.cpp and its sharded twin: the product with a matrix of 0 and +-1 is exact
    from HiFi3 on; below, the lowest bit of x is lost there.
    """
    tiles = x.unflatten(-1, (-1, TILE))
    turned = matmul(tiles, transformation, fidelity=fidelity, fp32_dest_acc=fp32_dest).flatten(-2)
    return _turn(x, turned, cos, sin, fidelity, fp32_dest)


def _turn(x, turned, cos, sin, fidelity, wide, table="bfloat16", out="bfloat16"):
    along = pack(eltwise_unit.multiply(x, cos, fidelity=fidelity, wide=wide), table, wide)
    across = pack(eltwise_unit.multiply(turned, sin, fidelity=fidelity, wide=wide), table, wide)
    return pack(eltwise_unit.add(along, across, wide=wide), out, wide)


ACTIVATIONS = {
    "silu": vector_activations.silu,
    "gelu": vector_activations.gelu,
    "relu": vector_activations.relu,
    "sigmoid": vector_activations.sigmoid,
}


def gated(x, activation="silu"):
    """first half * activation(second half) of the last dimension: swiglu, geglu, reglu, glu.

    Args:
        x: [..., 2 * D].
        activation: a name of `ACTIVATIONS`.

    Returns:
        [..., D] float32, rounded to bfloat16.

    TTNN composes `ttnn.swiglu` of a slice, the unary op and a multiply of two bfloat16 tensors,
    which the vector unit computes (binary_ng).
    """
    values, gate = x.float().chunk(2, dim=-1)
    gate = pack(ACTIVATIONS[activation](gate), "bfloat16", wide=False)
    return pack(vector_binary.multiply(values, gate), "bfloat16", wide=False)
