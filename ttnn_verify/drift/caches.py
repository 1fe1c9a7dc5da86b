"""Which call is to blame for what attention finds in a cache."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import torch

from ttnn_verify.drift import finding
from ttnn_verify.drift.expected_values import ExpectedRows
from ttnn_verify.drift.finding import OpFinding
from ttnn_verify.drift.observation import arrangements
from ttnn_verify.drift.observation.columns import ColumnOrder
from ttnn_verify.drift.observation.pool import SAME
from ttnn_verify.drift.observation.walk import ModelCall
from ttnn_verify.drift.observed import NO_OPERANDS, Observed, ReadTensor, Where
from ttnn_verify.huggingface.hf_values import HfValue
from ttnn_verify.numerics import tolerance


@dataclasses.dataclass(frozen=True)
class WriteToCache:
    """A call that wrote a cache.

    Attributes:
        finding: makes a finding at the call, as `Observed.finding` does.
        names: of Hugging Face's values that were written.
    """

    model_call: ModelCall
    finding: Callable[..., OpFinding]
    names: tuple[str, ...]


class CacheWrites:
    """The calls that wrote caches, by the cache's buffer."""

    def __init__(self, orders: Sequence[ColumnOrder] = ()) -> None:
        """Args: `orders`, of the columns of heads, grow while a model runs."""
        self.orders = orders
        self._of: dict[int, list[WriteToCache]] = {}

    def note(self, observed: Observed) -> None:
        """Remember a call that writes caches."""
        bare = dataclasses.replace(observed, operands=NO_OPERANDS, results=())
        for cache, source in zip(observed.results, observed.operands.sources, strict=True):
            names = tuple(one.name for one in (source.origin.found if source.origin else ()))
            write = WriteToCache(observed.model_call, bare.finding, names)
            self._of.setdefault(cache.buffer, []).append(write)

    def is_cache(self, tensor: ReadTensor) -> bool:
        """Whether a call has written to the tensor as to a cache."""
        return tensor.buffer in self._of

    def to_blame(
        self,
        observed: Observed,
        values: Sequence[tuple[HfValue, ExpectedRows]],
        calls: Sequence[ModelCall],
        verdict: tolerance.Verdict,
    ) -> OpFinding | None:
        """The finding on the write that makes attention wrong; None if all is where it should be.

        Args:
            observed: the call of attention.
            values: keys and values, in the order of the call's caches.
            calls: the calls of the model that filled the sequence so far, this one included.
        """
        caches = [tensor for tensor in observed.operands.tensors if self.is_cache(tensor)]
        if not caches:
            caches = [t for t in observed.operands.tensors if t.values.dim() == 4][1:3]
        for (step, expected), cache in zip(values, caches, strict=False):
            op_finding = self._on_cache(observed, step, expected, cache, calls, verdict)
            if op_finding is not None:
                return op_finding
        return None

    def _on_cache(
        self,
        observed: Observed,
        step: HfValue,
        expected: ExpectedRows,
        cache: ReadTensor,
        calls: Sequence[ModelCall],
        verdict: tolerance.Verdict,
    ) -> OpFinding | None:
        wrong = _first_wrong(cache, expected, observed.operands.pages, tuple(self.orders))
        if wrong is None:
            return None
        where = Where(step.layer, f"{step.short[0]} cache", "attention")
        call = next((one for one in calls if one.starts[0] <= wrong < one.ends[0]), calls[-1])
        writes = [
            write
            for write in self._of.get(cache.buffer, ())
            if write.model_call.number == call.number
        ]
        if writes:  # the first that writes something else, or else the last one
            others = [write for write in writes if write.names and step.name not in write.names]
            write = next(iter(others), writes[-1])
            note = f"position {wrong} is not {step.name}"
            if others:
                note = f"{', '.join(write.names)} is written, {step.name} is expected"
                where = where._replace(layer=layer_of(write.names))
            return write.finding(finding.MISUSED, where, step=verdict, note=note)
        return observed.finding(
            finding.MISSING,
            where,
            operation="a cache update",
            step=verdict,
            note=f"no call writes position {call.starts[0]} on",
        )


def layer_of(names: Sequence[str]) -> int | None:
    """The layer of values by their names, such as "layers.2.k"; None outside of the layers."""
    parts = names[0].split(".")
    return int(parts[1]) if parts[0] == "layers" else None


def _first_wrong(
    cache: ReadTensor,
    expected: ExpectedRows,
    pages: torch.Tensor | None,
    orders: tuple[ColumnOrder, ...],
) -> int | None:
    """The first position of the first sequence that a cache does not hold in its place.

    None where it holds all, or where it is not known how it holds any.
    """
    golden = expected.flat[: expected.lengths[0]]
    firsts = []
    for rows in _rows_of(cache, tuple(expected.rows.shape[1:]), pages, orders):
        rows = rows[: len(golden)]
        same = (rows - golden[: len(rows)]).norm(dim=-1) <= SAME * golden[: len(rows)].norm(dim=-1)
        wrong = torch.nonzero(~same).flatten()
        firsts.append(int(wrong[0]) if len(wrong) else len(rows))
    if not firsts or max(firsts) >= len(golden):
        return None
    return max(firsts)


def _rows_of(
    cache: ReadTensor,
    row_shape: tuple[int, ...],
    pages: torch.Tensor | None,
    orders: tuple[ColumnOrder, ...],
) -> Iterator[torch.Tensor]:
    """A cache's rows `[C, W]` from position 0 on, in each arrangement that they may have."""
    values = cache.values
    if pages is not None and values.dim() == 4:
        table = pages[0][(pages[0] >= 0) & (pages[0] < len(values))].long()
        values = values[table].transpose(0, 1).flatten(1, 2)[None]
    for where in arrangements.of(tuple(values.shape), row_shape, orders):
        yield values.flatten()[where.flat]
