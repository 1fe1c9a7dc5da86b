"""Faults of matrix products: of the device's, which the op tier must catch, and of the model's.

M, K, N sides of a product [M, K] by [K, N].
"""

import dataclasses
import itertools

import torch
import ttnn

import model.weights
from ttnn_emulator.arithmetic import formats
from ttnn_emulator.arithmetic.compute import Compute

from .inject import Fault, argument, arithmetic, calls, in_layers, kernels, nothing, part, result


def fidelity(name):
    def change(compute):
        asked = compute or Compute("HiFi2", packer_l1_acc=True)
        return dataclasses.replace(asked, fidelity=name)

    return argument("compute", change)


def weight_is(change):
    def of(matmul):
        def faulty(a, b, *rest, **kwargs):
            return matmul(a, change(b), *rest, **kwargs)

        return faulty

    return of


def transposed_if_square(weight):
    return weight.mT if weight.shape[-1] == weight.shape[-2] else weight


def tiled(weight, change):
    """`change(tiles [..., K / 32, 32, N / 32, 32])` of a weight, filled up with zeros."""
    k, n = weight.shape[-2:]
    whole = torch.nn.functional.pad(weight, (0, -n % 32, 0, -k % 32))
    tiles = change(whole.unflatten(-1, (-1, 32)).unflatten(-3, (-1, 32)).clone())
    return tiles.flatten(-2).flatten(-3, -2)[..., :k, :n]


def faces_exchanged(weight):
    """The second and third 16x16 face of each tile, as if tiles were stored by columns."""

    def change(tiles):
        first, second = tiles[..., :16, :, 16:].clone(), tiles[..., 16:, :, :16].clone()
        tiles[..., :16, :, 16:], tiles[..., 16:, :, :16] = second, first
        return tiles

    return tiled(weight, change)


def in_format(dtype, bits):
    """The weight is read in a format of fewer bits."""

    def of(matmul):
        def faulty(a, b, *rest, product, **kwargs):
            if product.weight == dtype:
                b = tiled(
                    b,
                    lambda tiles: (
                        formats.block_float(tiles.flatten(-2), bits)
                        .unflatten(-1, (-1, 32))
                        .to(b.dtype)
                    ),
                )
            return matmul(a, b, *rest, product=product, **kwargs)

        return faulty

    return of


def last_tile_of_k_left_out(matmul):
    def faulty(a, b, *rest, **kwargs):
        a = a.clone()
        a[..., (a.shape[-1] - 1) // 32 * 32 :] = 0
        return matmul(a, b, *rest, **kwargs)

    return faulty


def truncated(matmul):
    """Results lose the bits that bfloat16 has no room for instead of being rounded."""

    def faulty(a, b, *rest, product, **kwargs):
        wide = matmul(a, b, *rest, product=dataclasses.replace(product, out="float32"), **kwargs)
        return (wide.float().view(torch.int32) & -0x10000).view(torch.float32)

    return faulty


def last_row_zero(y):
    y = y.clone()
    y[..., -1, :] = 0
    return y


def last_block_zero(y):
    """The last core leaves its part of the output as it was."""
    y = y.clone()
    y[..., -32:, (y.shape[-1] - 1) // 32 * 32 :] = 0
    return y


def left_neighbour_added(y):
    """The destination register still holds the tile before."""
    y = y.float()
    return y + torch.nn.functional.pad(y, (32, 0))[..., : y.shape[-1]]


def gain(y):
    return y.float() * 1.01


def one_nan(y):
    y = y.float().clone()
    y[..., -1, -1] = torch.nan
    return y


def bias_missing(matmul):
    def faulty(a, b, bias=None, **kwargs):
        return matmul(a, b, None, **kwargs)

    return faulty


def by_a_hair_every_other_time(matmul):
    """Sums in an order that is not always the same: one result, one unit in the last place."""
    times = itertools.count()

    def faulty(*args, **kwargs):
        y = matmul(*args, **kwargs).float().clone()
        if next(times) % 2:
            y[..., 0, 0] *= 1 + 2.0**-7
        return y

    return faulty


def narrow_sums(compute):
    """A `Compute` without the 32-bit destination that was asked for; None stays None."""
    return compute and dataclasses.replace(compute, fp32_dest_acc=False)


PRODUCT = ("linear", 0)  # place of a layer's first one
ACCURATE = "33x192x160-dram-accurate"


def multiplying(name, change, sample=f"bf16-{ACCURATE}", arithmetic_="rounded"):
    inject = kernels("ttnn.linear", arithmetic("matmul", change))
    return Fault(name, "ops", inject, ("linear",), sample, arithmetic_)


def remembering(change):
    """A change whose function is made once for all calls of an injection."""

    def injected():
        made = {}
        once = arithmetic("matmul", lambda own: made.setdefault(own, change(own)))
        return kernels("ttnn.linear", once)()

    return injected


# --- of the model --------------------------------------------------------------------------------


def transposed_unless_square(place):
    """Hugging Face's [out, in] as it is, where the shape does not object."""

    def faulty(self, tensor, *args, transposed=False, **kwargs):
        square = tensor.ndim == 2 and tensor.shape[0] == tensor.shape[1]
        return place(self, tensor, *args, transposed=transposed and not square, **kwargs)

    return faulty


def in_bfloat8(as_tensor):
    """Weights go to the device in a format of fewer bits."""

    def faulty(tensor, dtype=None, layout=None, **kwargs):
        if dtype == ttnn.bfloat16 and layout == ttnn.TILE_LAYOUT:
            dtype = ttnn.bfloat8_b
        return as_tensor(tensor, dtype=dtype, layout=layout, **kwargs)

    return faulty


FAULTS = [
    multiplying("LoFi for HiFi4", fidelity("LoFi"), arithmetic_="kernel"),
    multiplying("HiFi2 for HiFi4", fidelity("HiFi2"), arithmetic_="kernel"),
    multiplying("sums in 16 bits", argument("compute", narrow_sums), arithmetic_="kernel"),
    multiplying("bfp8 weights where bf16 was asked", in_format("bfloat16", 7)),
    multiplying("bfp4 weights where bfp8 was asked", in_format("bfloat8_b", 3), f"bfp8-{ACCURATE}"),
    multiplying("square weight transposed", weight_is(transposed_if_square), "32x96x96"),
    multiplying("faces of a tile exchanged", weight_is(faces_exchanged)),
    multiplying("last tile of K left out", last_tile_of_k_left_out),
    multiplying("last row zero", result(last_row_zero)),
    multiplying("last block of the output not written", result(last_block_zero)),
    multiplying("destination not cleared", result(left_neighbour_added)),
    multiplying("gain of 1 percent", result(gain)),
    multiplying("one NaN", result(one_nan)),
    multiplying("results truncated", truncated),
    multiplying("bias missing", bias_missing, "bias"),
    Fault(
        "another result every other time",
        "ops",
        remembering(by_a_hair_every_other_time),
        ("linear",),
        "twice",
        unseen="one unit in the last place of one element",
    ),
    in_layers(
        "weight transposed where it is square",
        part(model.weights.DeviceWeights, "place", transposed_unless_square),
        "linear",
        place=PRODUCT,
    ),
    in_layers(
        "products without a compute configuration",
        calls("linear", argument("compute_kernel_config", nothing)),
        "linear",
        arithmetic="kernel",
        place=PRODUCT,
        stage="optimized",
    ),
    in_layers(
        "model's weights in bfp8",
        calls("as_tensor", in_bfloat8),
        "linear",
        place=("norm", 0),  # the norm's weight is the first one
    ),
]
