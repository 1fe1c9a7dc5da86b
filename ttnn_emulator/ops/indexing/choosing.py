"""Sampling of tokens, and tensors of random numbers.

The device's own random numbers are not followed. A seed gives the same numbers each time; without
one they go on from those before, which `ttnn.manual_seed` sets. The chances of tokens are multiples
of 2^-16, as writer_interleaved.cpp of ttnn.sampling makes them of two numbers.
"""

from typing import Any

import torch
import ttnn

from ttnn_emulator.arithmetic import paths
from ttnn_emulator.dispatch import Launch, NotEmulated
from ttnn_emulator.memory import DeviceTensor
from ttnn_emulator.ops.common import bounds
from ttnn_emulator.ops.common.padding import undefined
from ttnn_emulator.ops.creation import RANDOM, between

CHANCES = 1 << 16  # as many different ones
USERS = 32  # rows of logits in one call, each on a core of its own

# What calls without a seed continue; one for each user's core.
_continued = [torch.Generator().manual_seed(user) for user in range(USERS)]


def sampling(
    launch: Launch,
    input_values_tensor: DeviceTensor,
    input_indices_tensor: DeviceTensor,
    k: DeviceTensor,
    p: DeviceTensor,
    temp: DeviceTensor,
    *,
    seed: int | None = None,
    output_tensor: DeviceTensor | None = None,
) -> torch.Tensor:
    """A token of each user's row of logits [1, 1, B, D], by its name in `input_indices_tensor`.

    Raises:
        OutOfBounds: a user's `k` beyond 32.
    """
    paths.tell(RANDOM)
    users, width = input_values_tensor.shape[-2:]
    counts = k.logical.flatten().long()[:users]
    bounds.within(counts - 1, USERS, op=launch.name, operand="k", unit="place")
    chances = torch.stack([_chance(seed, user) for user in range(users)])
    places = launch.math.sampled(
        input_values_tensor.logical.reshape(users, width),
        counts,
        p.logical.flatten()[:users],
        temp.logical.flatten()[:users],
        chances,
    )
    names = input_indices_tensor.logical.long().reshape(-1, width)[:users]
    return names.gather(1, places[:, None]).reshape(launch.output.shape)


def _chance(seed: int | None, user: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed * USERS + user) if seed else _continued[user]
    return torch.randint(0, CHANCES, (), generator=generator) / CHANCES


def manual_seed(
    launch: Launch,
    seeds: int | DeviceTensor = 0,
    *,
    device: object = None,
    user_ids: int | DeviceTensor | None = None,
) -> torch.Tensor:
    """Where calls without a seed begin: for all users, or for those that are named."""
    numbers = _numbers(seeds)
    users = list(range(USERS)) if user_ids is None else _numbers(user_ids)
    for place, user in enumerate(users):
        if 0 <= user < USERS:
            _continued[user].manual_seed(numbers[place % len(numbers)] * USERS + user)
    return undefined(launch.output.padded_shape, launch.output.dtype)


def _numbers(value: int | DeviceTensor) -> list[int]:
    return [value] if isinstance(value, int) else value.logical.long().flatten().tolist()


def uniform(
    launch: Launch, input: DeviceTensor, *bounds_and_seed: float, **named: object
) -> torch.Tensor:
    """Numbers between `from` and `to` in the place of the tensor's own.

    Raises:
        NotEmulated: an argument that the operation of TTNN 0.81.1 does not have.
    """
    given: dict[str, Any] = {name: default for name, default in DEFAULTS} | named
    given |= dict(zip(("from", "to", "seed"), bounds_and_seed, strict=False))
    given.pop("compute_kernel_config", None)
    unknown = set(given) - {"from", "to", "seed"}
    if unknown:
        raise NotEmulated(f"ttnn.uniform has no argument {min(unknown)}.")
    paths.tell(RANDOM)
    chances = torch.rand(input.shape, generator=_generator(given["seed"]))
    return between(given["from"], given["to"], chances, input.dtype)


DEFAULTS = (("from", 0.0), ("to", 1.0), ("seed", 0))


def bernoulli(
    launch: Launch,
    input: DeviceTensor,
    seed: int = 0,
    *,
    output: DeviceTensor | None = None,
    dtype: ttnn.DataType | None = None,
    compute_kernel_config: ttnn.DeviceComputeKernelConfig | None = None,
) -> torch.Tensor:
    """1 with the chance that the element says, else 0."""
    paths.tell(RANDOM)
    chances = torch.rand(input.shape, generator=_generator(seed))
    return (chances < input.logical.float()).float()


def _generator(seed: object) -> torch.Generator:
    return torch.Generator().manual_seed(seed) if isinstance(seed, int) and seed else _continued[0]


BINDINGS = {
    "ttnn.bernoulli": bernoulli,
    "ttnn.manual_seed": manual_seed,
    "ttnn.sampling": sampling,
    "ttnn.uniform": uniform,
}
