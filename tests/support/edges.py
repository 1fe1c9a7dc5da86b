"""Calls at the last index that an operand has, and at one beyond it."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import ttnn

import ttnn_emulator
from tests.support.tensors import in_rows


@dataclasses.dataclass(frozen=True)
class Edge:
    """A call at the last index that its operand has, and at one beyond.

    Attributes:
        name: of the test.
        call: `call(device, index)`.
        last: an index at the very edge, of any type.
        beyond: one that is too much.
        sentence: how the error goes on after the operation's name.
    """

    name: str
    call: Callable[[ttnn.MeshDevice, Any], None]
    last: object
    beyond: object
    sentence: str


def each(edges: Sequence[Edge]) -> pytest.MarkDecorator:
    """A test for each edge, as the argument `edge`."""
    return pytest.mark.parametrize("edge", edges, ids=lambda edge: edge.name.replace(" ", "-"))


def refuses_what_is_beyond(device: ttnn.MeshDevice, edge: Edge) -> None:
    """Fail unless what the operand does not hold is refused, and the last that it holds is not."""
    with pytest.raises(ttnn_emulator.OutOfBounds) as error:
        edge.call(device, edge.beyond)
    assert re.match(r"ttnn\.\S+ " + re.escape(edge.sentence), str(error.value))
    edge.call(device, edge.last)


def ints(device: ttnn.MeshDevice, numbers: Sequence[Any]) -> ttnn.Tensor:
    """int32 numbers on the device: positions, page tables."""
    return in_rows(device, torch.tensor(numbers))
