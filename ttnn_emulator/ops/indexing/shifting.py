"""Elements kept, shifted, masked or made by where they stand: roll, triangles, patterns."""

from collections.abc import Callable, Sequence

import torch

from ttnn_emulator.dispatch import Launch
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops.common.moving import copied, through_dest


def roll(
    launch: Launch,
    input_tensor: DeviceTensor,
    shifts: int | Sequence[int],
    dim: int | Sequence[int] | None = None,
) -> torch.Tensor | None:
    """Shifted circularly along dimensions; without one, along all elements in their order."""
    if launch.views_input:
        return None
    dims = () if dim is None else _listed(dim)
    values = torch.roll(input_tensor.logical, _listed(shifts), dims)
    return through_dest(launch, values, input_tensor) if input_tensor.tiled else copied(values)


def _listed(number: int | Sequence[int]) -> int | tuple[int, ...]:
    return number if isinstance(number, int) else tuple(number)


def _triangle(name: str, of: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def binding(launch: Launch, input_tensor: DeviceTensor, *, diagonal: int = 0) -> torch.Tensor:
        """The product with a bfloat16 mask of ones that TTNN's host makes."""
        mask = of(torch.ones(input_tensor.shape[-2:]), diagonal)
        return launch.math.binary(
            "multiply",
            input_tensor.logical,
            mask,
            dtypes=(input_tensor.dtype, "bfloat16"),
            out=launch.output.dtype,
        )

    binding.__name__ = name
    return binding


def fill_rm(
    launch: Launch,
    N: int,
    C: int,
    H: int,
    W: int,
    hOnes: int,
    wOnes: int,
    any: DeviceTensor,
    val_hi: float,
    val_lo: float,
) -> torch.Tensor:
    """`val_hi` in the first rows and columns of each matrix, `val_lo` elsewhere."""
    values = torch.full((N, C, H, W), val_lo, dtype=torch.float32)
    values[..., :hOnes, :wOnes] = val_hi
    return values


def fill_ones_rm(
    launch: Launch,
    N: int,
    C: int,
    H: int,
    W: int,
    hOnes: int,
    wOnes: int,
    any: DeviceTensor,
) -> torch.Tensor:
    return fill_rm(launch, N, C, H, W, hOnes, wOnes, any, 1.0, 0.0)


BINDINGS = {
    "ttnn.fill_ones_rm": fill_ones_rm,
    "ttnn.fill_rm": fill_rm,
    "ttnn.roll": roll,
    "ttnn.tril": _triangle("tril", torch.tril),
    "ttnn.triu": _triangle("triu", torch.triu),
}
