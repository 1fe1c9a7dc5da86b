"""For tests that need the emulated device: deselecting them elsewhere, access to its buffers."""

import pathlib

import pytest
import torch
import ttnn

import ttnn_emulator
from ttnn_verify.pytest_plugins.device import BACKEND


def deselect_elsewhere(
    folder: pathlib.Path, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Deselect a folder's tests on any other backend than the emulated one."""
    if config.stash[BACKEND] == "emulated":
        return
    config.hook.pytest_deselected(items=[item for item in items if folder in item.path.parents])
    items[:] = [item for item in items if folder not in item.path.parents]


def contents(tensor: ttnn.Tensor) -> torch.Tensor:
    """The contents of an emulated tensor's buffer, with padding; writing to them changes it."""
    return ttnn_emulator.contents(tensor)


def fill_padding(padding: float, tensor: ttnn.Tensor) -> ttnn.Tensor:
    """The same tensor, its tile padding overwritten: no packer changes `padding`."""
    data = contents(tensor)
    logical_part = tuple(slice(0, n) for n in tensor.shape)
    logical = data[logical_part].clone()
    data.fill_(padding)
    data[logical_part] = logical
    return tensor
