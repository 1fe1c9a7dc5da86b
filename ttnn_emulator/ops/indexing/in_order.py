"""Order along a dimension: sort, the k largest, the largest's position."""

import torch

from ttnn_emulator.dispatch import Launch
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops.common import bounds
from ttnn_emulator.ops.indexing.by_index import exact


def sort(
    launch: Launch,
    input_tensor: DeviceTensor,
    dim: int = -1,
    descending: bool = False,
    stable: bool = False,
    *,
    out: tuple[DeviceTensor, DeviceTensor] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Values in order, and where each was."""
    if not input_tensor.shape:
        return input_tensor.logical.clone(), torch.zeros(())
    rows = exact(input_tensor.logical).movedim(dim, -1).contiguous()
    values, places = launch.math.sorted_rows(
        rows, descending=descending, stable=stable, dtype=input_tensor.dtype
    )
    return values.movedim(-1, dim), places.movedim(-1, dim)


def topk(
    launch: Launch,
    input_tensor: DeviceTensor,
    k: int = 32,
    dim: int = -1,
    largest: bool = True,
    sorted: bool = True,  # the kernel sorts in any case
    *,
    indices_tensor: DeviceTensor | None = None,
    output_tensor: tuple[DeviceTensor, DeviceTensor] | None = None,
    stable: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The `k` first in order and where they were, or what `indices_tensor` has for there.

    Raises:
        OutOfBounds: `indices_tensor` has fewer elements along the dimension.
    """
    if not input_tensor.shape:
        return input_tensor.logical.clone(), torch.zeros(())
    if not k or not input_tensor.logical.numel():
        empty = torch.zeros(launch.outputs[0].shape)
        return empty, empty
    rows = exact(input_tensor.logical).movedim(dim, -1).contiguous()
    values, places = launch.math.top_of_rows(
        rows, k, largest=largest, stable=stable, dtype=input_tensor.dtype
    )
    if indices_tensor is not None:
        names = exact(indices_tensor.logical).movedim(dim, -1)
        place = {"op": launch.name, "operand": "indices_tensor", "unit": "element"}
        bounds.within(places, names.shape[-1], **place)
        places = names.expand(*places.shape[:-1], -1).gather(-1, places)
    return values.movedim(-1, dim), places.movedim(-1, dim)


def argmax(
    launch: Launch,
    input_tensor: DeviceTensor,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    output_tensor: DeviceTensor | None = None,
    enable_secondary_dm: bool | None = None,  # shares the reading between two cores' processors
) -> torch.Tensor:
    """Position of the first largest value, in the flattened tensor where `dim` is None.

    A NaN is larger than any number (argmax_common.hpp). Zeros of both signs are equal, but along
    the last dimensions of float32, where the readers compare patterns.
    """
    values = exact(input_tensor.logical)
    if not values.dim():
        return torch.zeros(launch.output.shape)
    leading = dim is not None and dim % values.dim() < values.dim() - 2
    if input_tensor.dtype == "float32" and not leading:
        values = _by_pattern(values)
    return torch.argmax(values, dim).reshape(launch.output.shape)


def _by_pattern(values: torch.Tensor) -> torch.Tensor:
    """int64 in the order of float32 patterns by sign and magnitude; all NaN above, and equal."""
    patterns = values.contiguous().view(torch.int32).long()
    order = torch.where(patterns < 0, -1 - (patterns & 0x7FFFFFFF), patterns)
    return torch.where(values.isnan(), 2**31, order)


BINDINGS = {"ttnn.argmax": argmax, "ttnn.sort": sort, "ttnn.topk": topk}
