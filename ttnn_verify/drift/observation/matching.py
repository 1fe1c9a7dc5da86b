"""Which call computes which of Hugging Face's values: by order, kind of operation and width.

Values are not compared, because those of a faulty operation match nothing. A model's calls and
Hugging Face's steps are two sequences; their longest common subsequence is matched, the earliest of
several. Unmatched calls are intermediate (they move data or split a product); unmatched steps are
missing.

On a mesh of chips a result may be a chip's part of a step's value, and a product of parts is the
step's value once a collective has added them up.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from ttnn_verify.huggingface.hf_values import HfValue
from ttnn_verify.ops import table

E = TypeVar("E")
S = TypeVar("S")

HEADS = ("q_unrotated", "k_unrotated", "v")  # in the order in which they are split off


@dataclasses.dataclass(frozen=True)
class Traced:
    """A call of a run, reduced to what matching needs.

    Attributes:
        index: of the call in its run.
        name: the operation's full name.
        shapes: of the results, of a mesh those of a chip's parts.
        mesh: (rows, columns) of the chips.
    """

    index: int
    name: str
    shapes: tuple[tuple[int, ...], ...]
    mesh: tuple[int, int] = (1, 1)

    @property
    def short(self) -> str:
        """The operation's name without TTNN's modules."""
        return table.short_name(self.name)

    @property
    def kind(self) -> str | None:
        """The kind of Hugging Face's step that the operation computes."""
        return table.spec_of(self.name).kind

    @property
    def adds_up(self) -> bool:
        """Whether it is a collective that adds up what chips have, and computes nothing else."""
        spec = table.spec_of(self.name)
        return spec.spans_chips and not spec.moves and spec.kind is None


# A result of a call: the call, the number of the result, its shape.
Output = tuple[Traced, int, tuple[int, ...]]


@dataclasses.dataclass(frozen=True)
class Matched:
    """A pass through the layers: which of its calls computes which step.

    Attributes:
        rows: the positions it computes, a range.
        first, last: indices of its calls, the last one not included.
        steps: (call, output) -> the step whose value it is.
        missing: steps that no call matches.
    """

    rows: range
    first: int
    last: int
    steps: Mapping[tuple[int, int], HfValue]
    missing: tuple[HfValue, ...]

    def call_of(self, name: str) -> tuple[int, int] | None:
        """The (call, output) of a value, None if it is missing."""
        return next((place for place, step in self.steps.items() if step.name == name), None)


def passes(
    calls: Sequence[Traced], steps: Sequence[HfValue], start: int, count: int
) -> list[Matched]:
    """Match the operations of one call of the model with `count` tokens from position `start` on.

    Each embedding of tokens begins a new pass, because a model may process a prompt in pieces.

    Args:
        calls: in their order.
        steps: the values that are no inner ones.
    """
    if not calls:
        return []
    begins = _embeddings(calls, steps[0])
    sizes = [math.prod(calls[i].shapes[0][:-1]) for i in begins]
    if not begins:
        begins, sizes = [0], [count]
    begins[0] = 0  # calls before the first embedding belong to its pass
    result, position = [], start
    for begin, end, size in zip(begins, [*begins[1:], len(calls)], sizes, strict=True):
        rows = range(position, min(position + size, start + count))
        position = rows.stop
        if rows:
            result.append(_matched(calls[begin:end], steps, rows))
    return result


def _embeddings(calls: Sequence[Traced], embedding: HfValue) -> list[int]:
    """The places of the calls that look up embeddings, whole ones or, without any, parts."""
    found = [i for i, call in enumerate(calls) if call.kind == "embedding"]
    whole = [i for i in found if calls[i].shapes[0][-1] == math.prod(embedding.shape)]
    return whole or [i for i in found if fits((calls[i], 0, calls[i].shapes[0]), embedding)]


def _matched(calls: Sequence[Traced], steps: Sequence[HfValue], rows: range) -> Matched:
    outputs = [
        (call, output, shape)
        for call in calls
        if call.kind
        for output, shape in enumerate(call.shapes)
    ]
    pairs = aligned(outputs, steps, fits)
    places = {_place(outputs[i], calls): steps[j] for i, j in pairs}
    names = {steps[j].name for _, j in pairs}
    missing = tuple(step for step in steps if step.name not in names)
    return Matched(rows, calls[0].index, calls[-1].index + 1, places, missing)


def _place(output: Output, calls: Sequence[Traced]) -> tuple[int, int]:
    """The (call, output) where a value is whole: of a product, the collective that adds it up."""
    call, number, _ = output
    if call.kind == "product":
        for later in calls[call.index - calls[0].index + 1 :]:
            if later.adds_up:
                return later.index, 0
            if later.kind:
                break
    return call.index, number


def fits(element: Output, step: HfValue) -> bool:
    """Whether a call's result may be a step's value or a chip's part, by kind and width."""
    call, output, shape = element
    if call.kind != step.kind:
        return False
    if step.kind == "heads":
        return step.short in HEADS and HEADS.index(step.short) == output
    if step.kind in ("rope", "attention"):
        return True
    width, (rows, columns) = math.prod(step.shape), call.mesh
    most = 2 * width - 1 if step.kind == "product" else width
    return any(width <= shape[-1] * n <= most for n in {1, rows, columns, rows * columns})


def aligned(
    elements: Sequence[E], steps: Sequence[S], fits: Callable[[E, S], bool]
) -> list[tuple[int, int]]:
    """Pairs (i, j) of a longest common subsequence, of the longest ones the earliest."""
    n, m = len(elements), len(steps)
    best = [[0] * (m + 1) for _ in range(n + 1)]
    for i in reversed(range(n)):
        for j in reversed(range(m)):
            best[i][j] = max(best[i + 1][j], best[i][j + 1])
            if best[i][j] < 1 + best[i + 1][j + 1] and fits(elements[i], steps[j]):
                best[i][j] = 1 + best[i + 1][j + 1]
    pairs, i, j = [], 0, 0
    while i < n and j < m:
        if best[i][j] == 1 + best[i + 1][j + 1] and fits(elements[i], steps[j]):
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i + 1][j] == best[i][j]:  # something later matches this step, or none does
            i += 1
        else:
            j += 1
    return pairs
