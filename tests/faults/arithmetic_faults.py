"""Faults of the device's kernels: norms, elementwise functions, products, moving data.

The op tier is due for every one of them. S sequence, H hidden, M, K, N sides of a product.
"""

import dataclasses
import itertools

import torch

from emulator.arithmetic import formats
from emulator.arithmetic.compute import Compute, Step
from emulator.memory import DeviceTensor

from .inject import Fault, argument, arithmetic, first_operand, holding, kernels, result


def nothing(value):
    """In place of an argument that is forgotten: None."""


# --- norms and softmax ---------------------------------------------------------------------------


def epsilon_outside_the_root(rms_norm):
    def faulty(x, weight=None, *rest, epsilon, width=None, **kwargs):
        x = x.float()
        root = x[..., :width].square().mean(-1, keepdim=True).sqrt()
        x = x / (root + epsilon)
        return x if weight is None else x * weight.float()

    return faulty


def weight_as(change):
    def of(rms_norm):
        def faulty(x, weight=None, *rest, **kwargs):
            return rms_norm(x, None if weight is None else change(weight), *rest, **kwargs)

        return faulty

    return of


def mean_subtracted(rms_norm):
    """LayerNorm for RMSNorm."""

    def faulty(x, *rest, width=None, **kwargs):
        x = x.float()
        centred = x - x[..., :width].mean(-1, keepdim=True)
        return rms_norm(centred, *rest, width=width, **kwargs)

    return faulty


def narrow_sums(compute):
    """The 32-bit destination that was asked for is not set up."""
    return compute and dataclasses.replace(compute, fp32_dest_acc=False)


def normalising(name, change, sample, arithmetic_="rounded"):
    inject = kernels("ttnn.rms_norm", arithmetic("rms_norm", change))
    return Fault(name, "ops", inject, ("rms_norm",), sample, arithmetic_)


ODD = "bf16-1x1x37x192-dram"  # the usual sample; others where only they see it

NORMS = [
    normalising("epsilon missing", argument("epsilon", lambda epsilon: 0.0), "epsilon-1"),
    normalising("epsilon outside the root", epsilon_outside_the_root, "epsilon-1"),
    normalising("norm weight missing", weight_as(lambda weight: None), ODD),
    normalising("norm weight added as 1 + w", weight_as(lambda weight: 1 + weight.float()), ODD),
    normalising("mean subtracted by rms_norm", mean_subtracted, ODD),
    normalising("mean of squares over padding too", argument("width", nothing), "37x80"),
    normalising(
        "sum of squares in 16 bits", argument("compute", narrow_sums), ODD + "-accurate", "kernel"
    ),
    Fault(
        "softmax counts padding columns",
        "ops",
        kernels("ttnn.softmax", arithmetic("softmax", argument("width", nothing))),
        ("softmax",),
        "bf16-1x1x37x80",
    ),
]

# --- elementwise ---------------------------------------------------------------------------------


def other_activation(name):
    def change(steps):
        return tuple(Step(name) if step.name == "silu" else step for step in steps or ())

    return argument("a_steps", change)


def activation_of_the_other(binary):
    def faulty(*args, a_steps=(), b_steps=(), **kwargs):
        return binary(*args, a_steps=b_steps, b_steps=a_steps, **kwargs)

    return faulty


def second_row_broadcast(kernel):
    """The row that is broadcast is read one row too low, where its tile's padding is."""

    def faulty(launch, a, b, **kwargs):
        if isinstance(b, DeviceTensor) and b.shape[-2] == 1 < a.shape[-2]:
            b = holding(b, b.data.roll(-1, -2))
        return kernel(launch, a, b, **kwargs)

    return faulty


def gating(name, change):
    change = arithmetic("binary", change)
    return Fault(name, "ops", kernels("ttnn.multiply", change), ("multiply_silu",))


def approximate(unary):
    def faulty(x, *steps, **kwargs):
        steps = (dataclasses.replace(step, approximate=True) for step in steps)
        return unary(x, *steps, **kwargs)

    return faulty


ELEMENTWISE = [
    gating("gelu for silu", other_activation("gelu")),
    gating("hardswish for silu", other_activation("hardswish")),
    gating("activation missing", argument("a_steps", lambda steps: ())),
    gating("activation of the other operand", activation_of_the_other),
    Fault(
        "addition broadcasts a row of padding",
        "ops",
        kernels("ttnn.add", second_row_broadcast),
        ("add",),
        "37x80-dram-row",
    ),
    Fault(
        "exp approximated",
        "ops",
        kernels("ttnn.exp", arithmetic("unary", approximate)),
        ("exp",),
        "bf16-32x32",
        "kernel",
    ),
]


# --- products ------------------------------------------------------------------------------------


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


PRODUCTS = [
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
    ),
]

# --- moving data ---------------------------------------------------------------------------------


def ids_in_bfloat16(ids):
    """Exact up to 256 alone."""
    return ids.bfloat16().to(ids.dtype)


def buffer_order(kernel):
    """The padded buffer's elements are taken in their order, padding for data."""

    def faulty(launch, x, *shapes, **kwargs):
        if kernel(launch, x, *shapes, **kwargs) is None:
            return None
        shape = launch.output.shape
        return x.data.flatten()[: torch.Size(shape).numel()].reshape(shape)

    return faulty


def last_tile_row_lost(kernel):
    def faulty(*args, **kwargs):
        y = kernel(*args, **kwargs)
        if y is not None:
            y[..., (y.shape[-2] - 1) // 32 * 32 :, :] = 0
        return y

    return faulty


def zeros_for_the_value(kernel):
    def faulty(launch, x, padding, value=0.0, **kwargs):
        return kernel(launch, x, padding, 0.0, **kwargs)

    return faulty


def in_reverse(kernel):
    def faulty(launch, tensors, *args, **kwargs):
        if len({tensor.shape for tensor in tensors}) == 1:
            tensors = tensors[::-1]
        return kernel(launch, tensors, *args, **kwargs)

    return faulty


def faces_by_columns(y):
    """Tiles come out with their second and third face exchanged."""
    return y if y is None else faces_exchanged(y)


def a_row_late(x):
    return x.roll(-1, -2)


def cut_off(typecast):
    """Bits that bfloat16 has no room for are dropped instead of rounded."""

    def faulty(x, from_dtype, to_dtype):
        if (from_dtype, to_dtype) == ("float32", "bfloat16"):
            x = (x.view(torch.int32) & -0x10000).view(torch.float32)
        return typecast(x, from_dtype, to_dtype)

    return faulty


def moving(operation, name, change, sample=""):
    return Fault(name, "ops", kernels(f"ttnn.{operation}", change), (operation,), sample)


MOVEMENT = [
    moving("embedding", "token ids in bfloat16", first_operand(ids_in_bfloat16), "of-1000x"),
    moving("slice", "slice a row late", first_operand(a_row_late)),
    moving("reshape", "reshape of the padded buffer", buffer_order),
    moving("to_memory_config", "last shard lost", last_tile_row_lost, "to-height"),
    moving("pad", "pad with zeros whatever was asked", zeros_for_the_value),
    moving("concat", "concat in reverse", in_reverse),
    moving("untilize", "untilize takes faces by columns", result(faces_by_columns)),
    moving(
        "typecast",
        "typecast cuts off",
        arithmetic("typecast", cut_off),
        "fp32-1x2x37x80-dram-to-bf16",
    ),
]

FAULTS = [*NORMS, *ELEMENTWISE, *PRODUCTS, *MOVEMENT]
