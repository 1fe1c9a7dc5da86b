"""What Hugging Face computes at the positions of a walk: the expected rows of each value.

A *row* is a position of one sequence of a batch. Each sequence is a pass of its own, without
padding. A model whose rotary embedding depends on the length (LongRoPE, dynamic) has a pass for
each regime: what is expected of a call is what Hugging Face would compute with the tokens known
then.
"""

import copy
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from ttnn_verify import jobs
from ttnn_verify.drift.observation import columns
from ttnn_verify.huggingface import recording
from ttnn_verify.huggingface.hf_values import HfValue, RecordedPass

Record = Callable[[Any, torch.Tensor], RecordedPass]  # as `recording.record`


@dataclasses.dataclass(frozen=True)
class ExpectedRows:
    """Rows of a value: all positions that are known at a call of the model.

    Attributes:
        rows: `[n, ...]` float32; of several sequences one after the other.
        lengths: known positions of each sequence.
        starts: of each sequence, the first position that is new in this call.
    """

    rows: torch.Tensor
    lengths: tuple[int, ...]
    starts: tuple[int, ...]

    @functools.cached_property
    def flat(self) -> torch.Tensor:
        """`[n, W]`"""
        return self.rows.flatten(1)

    @functools.cached_property
    def signatures(self) -> torch.Tensor:
        """Of the rows, as `columns.signatures` has them; NaN counts as 0."""
        return columns.signatures(self.flat.nan_to_num(0.0))

    def beside(self, logits: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """(expected, actual) last new rows of each sequence, as `logits` `[B, S, V]` shows them."""
        rows = []
        for row, (first, end, start) in enumerate(self.runs()):
            new = self.rows[first + start : end]
            part = logits[row].float()[-len(new) :]
            rows.append((new[-len(part) :], part))
        return rows

    def runs(self) -> Iterator[tuple[int, int, int]]:
        """(first row, end, number of known ones before the new) of each sequence."""
        first = 0
        for length, start in zip(self.lengths, self.starts, strict=True):
            yield first, first + length, start
            first += length


class ExpectedValues:
    """Hugging Face's values along sequences of tokens.

    Attributes:
        steps: of a pass, in the order in which they were computed.
    """

    def __init__(self, hf_model: Any, record: Record = recording.record) -> None:
        """Args: `record` runs the model on ids `[1, S]`, or knows what it computes."""
        self.hf_model, self._record = hf_model, record
        self._passes: dict[tuple[tuple[int, ...], int], RecordedPass] = {}
        self.steps: tuple[HfValue, ...] = ()
        self._by_name: dict[str, HfValue] = {}

    @property
    def vocab(self) -> int:
        """How many logits a token has."""
        return self.step("logits").shape[0]

    def step(self, name: str) -> HfValue:
        """The step that computes a value."""
        return self._by_name[name]

    def along(self, sequences: Iterable[torch.Tensor]) -> "ExpectedValues":
        """The same along these sequences `[S]`: with the steps that all of their passes have."""
        passes = [
            self._pass(tokens, end) for tokens in sequences for end in self.regimes(len(tokens))
        ]
        common = set.intersection(*({step.name for step in one.steps} for one in passes))
        same = copy.copy(self)
        same.steps = tuple(step for step in passes[0].steps if step.name in common)
        same._by_name = {step.name: step for step in same.steps}
        return same

    def prepare(self, tokens: torch.Tensor) -> None:
        """Record the passes of a sequence `[S]`."""
        for end in self.regimes(len(tokens)):
            found = self._pass(tokens, end)
            if len(found.steps) > len(self.steps):
                self.steps = found.steps
                self._by_name = {step.name: step for step in found.steps}

    def regimes(self, length: int) -> list[int]:
        """The lengths at which a sequence's passes end; positions of one agree up to its end."""
        if self._rope_type == "dynamic":
            return list(range(1, length + 1))
        if self.boundary is not None and self.boundary < length:
            return [self.boundary, length]
        return [length]

    @property
    def boundary(self) -> int | None:
        """The length beyond which LongRoPE's factors are the long ones; None without."""
        if self._rope_type not in ("longrope", "su"):
            return None
        config = self.hf_model.config
        stored = self._rope.get("original_max_position_embeddings")
        return stored or getattr(config, "original_max_position_embeddings", None)

    @property
    def _rope(self) -> dict[str, Any]:
        config = self.hf_model.config
        rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None)
        return rope if isinstance(rope, dict) else {}

    @property
    def _rope_type(self) -> str:
        return self._rope.get("rope_type") or self._rope.get("type") or "default"

    def _pass(self, tokens: torch.Tensor, end: int) -> RecordedPass:
        key = tuple(tokens.tolist()), end
        if key not in self._passes:
            with jobs.hugging_face_runs(f"on {end} tokens"):
                recorded = self._record(self.hf_model, tokens[None, :end])
            jobs.check_reference(recorded.values["logits"])
            self._passes[key] = recorded
        return self._passes[key]

    def expected(
        self,
        value: HfValue,
        sequences: tuple[torch.Tensor, ...],
        starts: tuple[int, ...],
        ends: tuple[int, ...],
        isolated: bool = False,
    ) -> ExpectedRows:
        """The rows of a value at a call that gives each sequence's tokens `starts` to `ends`."""
        rows = []
        for tokens, end in zip(sequences, ends, strict=True):
            regime = next(length for length in self.regimes(len(tokens)) if end <= length)
            recorded = self._pass(tokens, regime)
            of_value = (recorded.isolated if isolated else recorded.values)[value.name][0, :end]
            rows.append(_of_known_keys(value, of_value, tokens, max(ends)))
        return ExpectedRows(torch.cat(rows), ends, starts)


def _of_known_keys(
    value: HfValue, rows: torch.Tensor, tokens: torch.Tensor, end: int
) -> torch.Tensor:
    """Attention's scores `[S, N, keys]` at the keys that are known; NaN at those to come."""
    if not over_keys(value):
        return rows
    rows = torch.nn.functional.pad(rows, (0, max(end - rows.shape[-1], 0)))[..., :end].clone()
    later = torch.arange(end)[None, :] > torch.arange(len(rows))[:, None]
    hidden = later[:, None, :] | (rows <= torch.finfo(torch.float32).min / 2)
    return rows.masked_fill(hidden.expand_as(rows), torch.nan)


def over_keys(value: HfValue) -> bool:
    """Whether a value has a column per key: attention's scores and their softmax."""
    return value.within is not None and value.within.endswith("attention") and value.keys
