"""The values that a Hugging Face model computes in a pass, and how each comes from earlier ones.

B batch, S sequence, W width, N heads, D head_dim.
"""

import dataclasses
from collections.abc import Mapping

import torch


@dataclasses.dataclass(frozen=True)
class HfValue:
    """A value of Hugging Face's model, and the step that computes it.

    Attributes:
        name: "layers.2.q", say.
        kind: of the step: "embedding", "norm", "product", "heads" (a part of a product), "rope",
            "attention", "add", "multiply", "activation", or the name of a torch function.
        inputs: names of the values it is computed from.
        shape: (W,) or (N, D) of a row.
        layer: number, None outside of the layers.
        part: "embedding", "attention", "MLP" or "head".
        within: name of the value that an inner step contributes to; None for a step.
        keys: whether a row has a column per position, as attention's scores have.
        constants: of the step: "epsilon" of a norm, "scale" of attention; as far as it has any.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    layer: int | None
    part: str
    within: str | None = None
    keys: bool = False
    constants: Mapping[str, float] = dataclasses.field(default_factory=dict, hash=False)

    @property
    def short(self) -> str:
        """The name within its layer."""
        return self.name if self.layer is None else self.name.split(".", 2)[2]


@dataclasses.dataclass(frozen=True)
class RecordedPass:
    """A pass of Hugging Face's model over tokens.

    Attributes:
        tokens: `[B, S]` int64.
        steps: in the order in which they were computed.
        values: name -> `[B, S, *shape]` float32, Hugging Face's own values.
        isolated: name -> what the step computes from its inputs rounded to bfloat16, float32; of
            a part of a value ("heads") that part of it.
    """

    tokens: torch.Tensor
    steps: tuple[HfValue, ...]
    values: dict[str, torch.Tensor]
    isolated: dict[str, torch.Tensor]
