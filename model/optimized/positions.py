"""Where tokens stand, on the device: those of a prompt's chunk, and those of a decode step.

B batch, S sequence, D head_dim, C cache length.
"""

from dataclasses import dataclass

import torch
import ttnn

from ..sequences import SKIP
from .cache import PAGE, page_table
from .rope import RotaryEmbedding


@dataclass(frozen=True)
class Chunk:
    """The positions of a chunk of a prompt, on the device."""

    cos_sin: list[ttnn.Tensor]  # [1, 1, S, D] each
    start: ttnn.Tensor  # int32 [1], its first position
    pages: ttnn.Tensor  # int32 [1, S / 32], its own pages
    row_pages: ttnn.Tensor  # int32 [1, C / 32], all pages of its row of the batch

    @classmethod
    def at(
        cls,
        first: int,
        seq_len: int,
        long: bool,
        rope: RotaryEmbedding,
        row_pages: torch.Tensor,
        device: ttnn.MeshDevice,
    ) -> "Chunk":
        """Positions first, first + 1, ... first + S - 1, in whole tiles."""
        rows = [rope.row(p, long) for p in range(first, first + seq_len)]
        pages = row_pages[None, first // PAGE : (first + seq_len) // PAGE]
        return cls(
            cos_sin=rope.prefill_rows(ints([rows], ttnn.uint32, device)),
            start=ints([first], device=device),
            pages=ints(pages, device=device),
            row_pages=ints(row_pages[None], device=device),
        )


@dataclass(frozen=True)
class Step:
    """The positions of a decode step's tokens, on the device."""

    cos_sin: list[ttnn.Tensor]  # [1, 2 B, 32, D] each
    positions: ttnn.Tensor  # int32 [B]
    pages: ttnn.Tensor  # int32 [B, C / 32]


class DecodeState:
    """What the device holds between decode steps, and what the host knows of it.

    A step advances its own positions, so that the host sends only tokens.

    Attributes:
        page_table: int32 [B, C / 32] on the host, `pages` the same on the device.
        tokens: uint32 [1, B] on the device.
        positions: int32 [B] on the device, SKIP for a row without a sequence.
        rope_ids: uint32 [2 B, 32] on the device, of `RotaryEmbedding.decode_ids`.
        standing: (positions, which sequences are long) on the device; None if the host does not
            know.
        compiled: whether a step has run, so that its programs are compiled.
        captured: (id, logits) of a step's trace, None before it is captured.
    """

    def __init__(self, rope: RotaryEmbedding, batch: int, cache_len: int, device: ttnn.MeshDevice):
        self.rope = rope
        self.page_table = page_table(batch, cache_len)
        self.pages = ints(self.page_table, device=device)
        self.tokens = ints(torch.zeros(1, batch), ttnn.uint32, device)
        self.positions = ints(torch.zeros(batch), device=device)
        self.rope_ids = ints(rope.decode_ids([0] * batch), ttnn.uint32, device)
        self.standing: tuple[list[int], list[bool]] | None = None
        self.compiled = False
        self.captured: tuple[int, ttnn.Tensor] | None = None

    def send(self, tokens: list[int], positions: list[int], long: list[bool]) -> None:
        """Send a step's tokens, and positions if they changed; call `stepped` after the step."""
        moved = self.standing != (positions, long)
        self.standing = None  # a step that fails may have advanced the positions or not
        if moved:
            rows = [
                self.rope.row(max(p, 0), is_long)
                for p, is_long in zip(positions, long, strict=True)
            ]
            ids = ints(self.rope.decode_ids(rows), ttnn.uint32)
            ttnn.copy_host_to_device_tensor(ints(positions), self.positions)
            ttnn.copy_host_to_device_tensor(ids, self.rope_ids)
        ttnn.copy_host_to_device_tensor(ints([tokens], ttnn.uint32), self.tokens)

    def count_on(self) -> None:
        """Advance the positions by one, on the device: part of the step."""
        ttnn.plus_one(self.positions, skip_negative_entries=True)
        ttnn.plus_one(self.rope_ids)

    def stepped(self, positions: list[int], long: list[bool]) -> None:
        """A step from these positions has succeeded."""
        self.standing = [p if p == SKIP else p + 1 for p in positions], long


def ints(
    numbers: torch.Tensor | list[int] | list[list[int]],
    dtype: ttnn.DataType = ttnn.int32,
    device: ttnn.MeshDevice | None = None,
) -> ttnn.Tensor:
    """Row-major integers on the device, or on the host."""
    host = ttnn.from_torch(torch.as_tensor(numbers).int(), dtype=dtype)
    return host if device is None else ttnn.to_device(host, device)
