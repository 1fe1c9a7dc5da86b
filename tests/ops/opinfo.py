"""What the table of ops is made of: an op, its sample calls, their operands, the calls it refuses.

In the manner of PyTorch's OpInfo: an entry holds everything that is particular to an op, and the
tests are written once for all entries.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import torch
import ttnn

# names of dtypes in the ids of tests
SHORT = {
    ttnn.bfloat16: "bf16",
    ttnn.float32: "fp32",
    ttnn.bfloat8_b: "bfp8",
    ttnn.bfloat4_b: "bfp4",
    ttnn.uint16: "u16",
    ttnn.uint32: "u32",
    ttnn.int32: "i32",
}


@dataclasses.dataclass(frozen=True)
class Operand:
    """A tensor and how it lies on the device.

    Attributes:
        values: any shape; `dtype` rounds them.
        memory: a name of `operands.MEMORY`.
    """

    values: torch.Tensor
    dtype: ttnn.DataType = ttnn.bfloat16
    layout: ttnn.Layout = ttnn.TILE_LAYOUT
    memory: str = "dram"

    @functools.cached_property
    def on_host(self):
        """The ttnn tensor on the host; packing a large one takes longer than an op on it."""
        return ttnn.from_torch(self.values, dtype=self.dtype, layout=self.layout)


@dataclasses.dataclass(frozen=True)
class Sample:
    """A call of an op: `make()` gives its operands, `kwargs` go to the call, golden and floor.

    dtype, shape, memory and note are the id; they are those of the operand that matters most.
    `result` is the dtype of the results where it is another.
    """

    shape: tuple[int, ...]
    make: Callable[[], tuple[Operand, ...]]
    dtype: ttnn.DataType = ttnn.bfloat16
    memory: str = "dram"
    note: str = ""
    kwargs: Mapping = dataclasses.field(default_factory=dict)
    result: ttnn.DataType | None = None

    @property
    def id(self):
        parts = [SHORT[self.dtype], "x".join(map(str, self.shape)), self.memory, self.note]
        return "-".join(part for part in parts if part)


@dataclasses.dataclass(frozen=True)
class Refused:
    """A call that TTNN must refuse: `call(device)`, and a piece of what TTNN says about it."""

    id: str
    call: Callable
    says: str


@dataclasses.dataclass(frozen=True)
class Op:
    """An op of TTNN.

    Attributes:
        name: of the entry, which is the op's own unless `operation` says it.
        call: `call(*tensors, **kwargs)`, the operands on the device; returns what is compared, a
            tensor or several. An op that works in place returns the tensor it wrote.
        golden: `golden(*operands, **kwargs)`, the operands as the device holds them, integers in
            int64, floats in float64 unless the op moves them; returns what is expected of `call`.
        floor: `floor(golden, *operands, **kwargs)`, the noise floor of the result
            (ttnn_verify.numerics.op_floors), or None for movement, which is exact.
        samples: small calls, odd shapes, all dtypes and memory configurations.
        references: real shapes of Phi-3-mini, massive channels, extreme values.
        errors: calls it refuses.
        operation: the op's own name where it has several entries, for a prompt and for a token.
    """

    name: str
    call: Callable
    golden: Callable
    samples: tuple[Sample, ...]
    references: tuple[Sample, ...]
    errors: tuple[Refused, ...]
    floor: Callable | None = None
    operation: str = ""

    def __post_init__(self):
        object.__setattr__(self, "operation", self.operation or self.name)


def plain(*shape):
    """Normal values."""
    return torch.randn(shape)


def massive(*shape):
    """Normal values, four columns 300 times larger, as a residual stream of a language model is."""
    x = torch.randn(shape)
    x[..., torch.randperm(shape[-1])[:4]] *= 300
    return x


def extreme(*shape, low=-100, high=100):
    """Normal values times 2^low in the first row up to 2^high in the last one.

    Each row has a magnitude of its own, so the comparison by rows sees the small ones too.
    """
    x = torch.randn(shape)
    rows = x.flatten(0, -2)
    rows *= torch.logspace(low, high, len(rows), base=2.0)[:, None]
    return x


PLAIN = {plain: "", massive: "massive", extreme: "extreme"}  # how ids name the values
