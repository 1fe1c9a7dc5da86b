"""Faults of the device's kernels that move data. The op tier must catch every one of them."""

import torch

from .inject import Fault, arithmetic, first_operand, kernels, result
from .product_faults import faces_exchanged


def ids_in_bfloat16(ids):
    """Exact up to 256 alone. The greatest id stays, as the next number may be beyond the table."""
    ids, dtype = ids.long(), ids.dtype
    return ids.bfloat16().long().clamp(max=ids.max()).to(dtype)


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


FAULTS = [
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
