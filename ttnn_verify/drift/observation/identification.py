"""Which of Hugging Face's values a tensor on the device holds: values decide, not names or order.

A tensor holds a value if most of its cells are the value's, a cell being a stretch of columns of a
row. So a tensor with a wrong row, or wrong heads, is still recognised, and judged afterwards.
"""

import dataclasses
import itertools
from collections.abc import Callable, Collection, Iterable, Sequence

import torch

from ttnn_verify.drift.expected_values import ExpectedRows
from ttnn_verify.drift.mesh.spread import ONE, Distribution
from ttnn_verify.drift.observation import arrangements, columns
from ttnn_verify.drift.observation import rows as matching_rows
from ttnn_verify.drift.observation.arrangements import Arrangement
from ttnn_verify.drift.observation.pool import CELL, FEW, Pool, Shape, shares
from ttnn_verify.drift.observation.rows import MOST, Places
from ttnn_verify.huggingface.hf_values import HfValue

# Share of the cells that must be the value's up to a factor; `rows.MOST` as it is given.
NEARLY_ALL = 0.9
# Relative L2 error of a multiple: that of roundings. What is farther off is no multiple.
MULTIPLE = 0.05
# A factor that is nearer to 1 is an error, no factor.
LEAST_FACTOR = 0.1
# Relative L2 error of a product with a coarse format, whose kind and operands are the value's: of
# weights in bfloat4_b 0.12. November 2026.
COARSE = 0.35
# A relative L2 error that no other value comes below: roundings alone.
CERTAIN = 0.02


@dataclasses.dataclass(frozen=True)
class Found:
    """A value in a tensor.

    Attributes:
        name: of the value.
        arrangement: how it lies in the tensor.
        rows: int64 `[R]`, which of the tensor's rows have it.
        positions: int64 `[R]`, which of the expected rows they are.
        factor: by which the tensor's is larger than Hugging Face's.
        error: relative L2, of all rows.
        spread: how the tensor lies over the chips of a mesh.
    """

    name: str
    arrangement: Arrangement
    rows: torch.Tensor
    positions: torch.Tensor
    factor: float = 1.0
    error: float = 0.0
    spread: Distribution = ONE

    def read(self, tensor: torch.Tensor) -> torch.Tensor:
        """The rows in a torch tensor: `[R, ...]`."""
        return tensor.flatten()[self.arrangement.index[self.rows]]

    def write(self, tensor: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """The tensor with these rows, `[R, ...]`, in their place."""
        flat = tensor.flatten().clone()
        rows = rows * self.factor
        known = ~rows.isnan()
        flat[self.arrangement.index[self.rows][known]] = rows[known].to(flat.dtype)
        if self.arrangement.copies is not None:
            places, sources = self.arrangement.copies
            flat[places[self.rows]] = rows.flatten(1)[:, sources].to(flat.dtype)
        return flat.reshape(tensor.shape)


Candidates = Iterable[tuple[HfValue, ExpectedRows]]


class _Views:
    """A tensor in its arrangements, each made once, and compared with a pool once."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor
        self.flat = tensor.flatten().float()
        self.shape = tuple(tensor.shape)
        self._rows: dict[Arrangement, torch.Tensor] = {}
        self._signatures: dict[Arrangement, torch.Tensor] = {}
        self._near: dict[tuple[Shape, Arrangement], torch.Tensor] = {}

    def rows(self, where: Arrangement) -> torch.Tensor:
        """[M, W] of an arrangement."""
        if where not in self._rows:
            self._rows[where] = self.flat[where.flat]
        return self._rows[where]

    def signatures(self, where: Arrangement) -> torch.Tensor:
        if where not in self._signatures:
            self._signatures[where] = columns.signatures(self.rows(where))
        return self._signatures[where]

    def near(self, pool: Pool, shape: Shape, where: Arrangement) -> torch.Tensor:
        """As `pool.near`; of one pool."""
        if (shape, where) not in self._near:
            self._near[shape, where] = pool.near(shape, self.signatures(where))
        return self._near[shape, where]


class Finder:
    """Finds values in tensors.

    It remembers, within a call of the model, which rows of a tensor are which positions, and, for
    good, in which order columns lie.
    """

    def __init__(self) -> None:
        # number of rows of a tensor -> (its rows, the expected rows that they are)
        self.rows: dict[int, Places] = {}
        self.orders: list[columns.ColumnOrder] = []  # of the columns of heads
        # (value's name within its layer, columns of the tensor) -> where the value's columns lie
        self.gathered: dict[tuple[str, int], columns.ColumnOrder] = {}

        self.not_gathered: set[tuple[str, int]] = set()  # so far in this call of the model

    def begin(self) -> None:
        """A new call of the model: its rows lie elsewhere."""
        self.rows.clear()
        self.not_gathered.clear()

    def find(
        self,
        tensor: torch.Tensor,
        pool: Pool,
        order: Sequence[int] | None = None,
        preferred: Callable[[HfValue], bool] = lambda value: False,
    ) -> tuple[Found, ...]:
        """What a tensor holds of a pool: the value itself first, then its equals, the widest first.

        Args:
            order: of the pool's values, the likeliest first.
            preferred: which of several equal values is meant.
        """
        views = _Views(tensor)
        order = range(len(pool.pairs)) if order is None else order
        meant = [number for number in order if preferred(pool.pairs[number][0])]
        # what is meant, or else anything, in the rows that are known, or else in others
        found: list[tuple[Found, bool]] = []
        for numbers, anywhere in itertools.product((meant, order), (False, True)):
            if not any(one.error < CERTAIN for one, _ in found):
                found = self._all(views, pool, numbers, set(meant), anywhere) or found
        least = min((one.error for one, _ in found), default=0.0)
        equals = [pair for pair in found if pair[0].error <= max(2 * least, CERTAIN)]
        equals.sort(key=lambda pair: (not pair[1], -pair[0].arrangement.flat.shape[1]))
        return tuple(one for one, _ in equals)

    def _all(
        self,
        views: _Views,
        pool: Pool,
        order: Sequence[int],
        all_meant: Collection[int],
        anywhere: bool,
    ) -> list[tuple[Found, bool]]:
        """Values that are found, and whether each is meant; no more once one is for certain."""
        found = []
        promising = self._promising(views, pool, order, anywhere)
        for number in order:
            value, expected = pool.pairs[number]
            meant = number in all_meant
            one = self._one(views, value, expected, promising[number], anywhere, meant)
            if one is None or (one.error > CERTAIN and not meant):
                continue  # another operation than the value's makes it rightly, or it is another
            found.append((one, meant))
            if meant and one.error < CERTAIN:
                break
        return found

    def _promising(
        self, views: _Views, pool: Pool, order: Sequence[int], anywhere: bool
    ) -> list[list[Arrangement]]:
        """Of each value of a pool, the arrangements in which a few rows agree."""
        result: list[list[Arrangement]] = [[] for _ in pool.pairs]
        asked = {tuple(pool.pairs[number][0].shape) for number in order}
        for shape, numbers in pool.groups.items():
            if shape not in asked:
                continue
            for where in arrangements.of(views.shape, shape, tuple(self.orders)):
                if anywhere:
                    likely = views.near(pool, shape, where)
                else:
                    few = self._few(views, where)
                    if few is None:
                        continue
                    likely = pool.cells(shape, few[1]).shares(few[0]) >= MOST / 2
                for index in torch.nonzero(likely).flatten().tolist():
                    result[numbers[index]].append(where)
        return result

    def _few(self, views: _Views, where: Arrangement) -> tuple[torch.Tensor, torch.Tensor] | None:
        """A few of the rows that are known, `[R, W]`, and their positions; None without."""
        known = self.rows.get(len(where.index))
        if known is None:
            return None
        few = slice(0, len(known[0]), max(len(known[0]) // FEW, 1))
        return views.rows(where)[known[0][few]], known[1][few]

    def find_multiple(
        self, tensor: torch.Tensor, pool: Pool, order: Iterable[int] | None = None
    ) -> Found | None:
        """The first value of a pool of which a tensor holds a multiple."""
        views = _Views(tensor)
        promising: list[list[Arrangement]] = [[] for _ in pool.pairs]
        for shape, numbers in pool.groups.items():
            for where in arrangements.of(views.shape, shape, tuple(self.orders)):
                few = self._few(views, where)
                if few is None:
                    continue
                golden = pool.at(shape, few[1])
                factors = _factors(few[0], golden)
                scaled = few[0] / factors[:, None, None]
                likely = pool.cells(shape, few[1]).shares(scaled) >= NEARLY_ALL
                for index in torch.nonzero(likely).flatten().tolist():
                    promising[numbers[index]].append(where)
        for number in range(len(pool.pairs)) if order is None else order:
            for where in promising[number]:
                found = self._multiple(views, *pool.pairs[number], where)
                if found is not None:
                    return found
        return None

    def find_parts(self, tensor: torch.Tensor, candidates: Candidates) -> tuple[Found, ...]:
        """Values that lie side by side in a tensor's last dimension, in any order of columns."""
        views, found = _Views(tensor), []
        width = views.shape[-1]
        taken = torch.zeros(width, dtype=torch.bool)
        for value, expected in candidates:
            size = _count(value.shape)
            if size > width or width % CELL:
                continue
            order = self._gathered_order(views, value, expected)
            if order is None or bool(taken[order.places].any()):
                continue
            where = arrangements.gathered(views.shape, tuple(value.shape), order)
            one = self._in(views, value, expected, where)
            if one is not None:
                self.gathered[value.short, width] = order
                taken[order.places] = True
                found.append(one)
        return tuple(found)

    def find_nearest(self, tensor: torch.Tensor, candidates: Candidates) -> tuple[Found, ...]:
        """The value that a tensor is nearest to, in rows that are known, if it is within `COARSE`.

        For what a coarse format makes, which few cells of are the value's by themselves.
        """
        views, best = _Views(tensor), None
        for value, expected in candidates:
            for where in arrangements.of(views.shape, tuple(value.shape), tuple(self.orders)):
                known = self.rows.get(len(where.index))
                if known is None:
                    continue
                one = _found(value, where, views.rows(where), expected, *known)
                if one.error <= COARSE and (best is None or one.error < best.error):
                    best = one
        return () if best is None else (best,)

    # --- one value ------------------------------------------------------------------------------

    def _one(
        self,
        views: _Views,
        value: HfValue,
        expected: ExpectedRows,
        promising: Iterable[Arrangement],
        anywhere: bool,
        meant: bool,
    ) -> Found | None:
        best = self._best(views, value, expected, promising, anywhere)
        of_heads = len(value.shape) == 2 and not value.keys
        if not of_heads:
            return best
        if best is None:
            if anywhere and (meant or not self.orders):
                return self._in_other_order(views, value, expected)
            return None
        if not self.orders and "padded" in best.arrangement.name:
            return self._in_other_order(views, value, expected, True) or best
        return best

    def _best(
        self,
        views: _Views,
        value: HfValue,
        expected: ExpectedRows,
        promising: Iterable[Arrangement],
        anywhere: bool,
    ) -> Found | None:
        """The value in the arrangement in which it errs least."""
        best = None
        for where in promising:
            found = self._in(views, value, expected, where, anywhere)
            if found is not None and (best is None or found.error < best.error):
                best = found
            if best is not None and best.error < CERTAIN:
                break
        return best

    def _in(
        self,
        views: _Views,
        value: HfValue,
        expected: ExpectedRows,
        where: Arrangement,
        anywhere: bool = False,
    ) -> Found | None:
        if not anywhere:
            known = self.rows.get(len(where.index))
            if known is None:
                return None
            rows, positions = known
            actual = views.rows(where)
            if shares(actual[rows], expected.flat[positions]) < MOST:
                return None
            return _found(value, where, actual, expected, rows, positions)
        places = matching_rows.matched(views.rows(where), views.signatures(where), expected)
        if places is None:
            return None
        if not matching_rows.are_part(places, self.rows.get(len(where.index))):
            self.rows[len(where.index)] = places
        return _found(value, where, views.rows(where), expected, *places)

    def _multiple(
        self, views: _Views, value: HfValue, expected: ExpectedRows, where: Arrangement
    ) -> Found | None:
        known = self.rows.get(len(where.index))
        if known is None:
            return None
        rows, positions = known
        golden = expected.flat[positions]
        part = views.rows(where)[rows]
        factor = float(_factors(part, golden))
        if not 1e-6 < abs(factor) < torch.inf or abs(factor - 1) < LEAST_FACTOR:
            return None
        if shares(part / factor, golden) < NEARLY_ALL:
            return None
        found = _found(value, where, views.rows(where) / factor, expected, rows, positions)
        if found.error > MULTIPLE:
            return None
        return dataclasses.replace(found, factor=factor)

    def _in_other_order(
        self, views: _Views, value: HfValue, expected: ExpectedRows, copies: bool = False
    ) -> Found | None:
        """The value with the columns of its heads in another order, which is remembered.

        Args:
            copies: only an order in which some columns are kept twice.
        """
        if len(views.shape) < 2:
            return None
        for _, heads in arrangements.with_whole_heads(views.shape, value.shape[0]):
            known = self.rows.get(len(heads))
            if known is None or heads.shape[-1] < value.shape[1]:
                continue
            rows, positions = known
            order = columns.find(
                views.flat[heads[rows]].flatten(0, 1), expected.rows[positions].flatten(0, 1)
            )
            if order is None or (copies and not order.has_copies):
                continue
            for where in arrangements.of(views.shape, tuple(value.shape), (order,)):
                found = self._in(views, value, expected, where)
                if found is not None and "ordered" in where.name:
                    self.orders.append(order)
                    return found
        return None

    def _gathered_order(
        self, views: _Views, value: HfValue, expected: ExpectedRows
    ) -> columns.ColumnOrder | None:
        width = views.shape[-1]
        if (value.short, width) in self.gathered:
            return self.gathered[value.short, width]
        lines = views.flat.reshape(-1, width)
        known = self.rows.get(len(lines))
        if known is None:
            return None
        if (value.short, width) in self.not_gathered:
            return None
        rows, positions = known
        order = columns.find(lines[rows], expected.flat[positions])
        if order is None:
            self.not_gathered.add((value.short, width))
        return order


def _count(shape: tuple[int, ...]) -> int:
    return torch.Size(shape).numel()


def _found(
    value: HfValue,
    where: Arrangement,
    actual: torch.Tensor,
    expected: ExpectedRows,
    rows: torch.Tensor,
    positions: torch.Tensor,
) -> Found:
    golden = expected.flat[positions]
    unknown = golden.isnan()
    difference = (actual[rows] - golden).masked_fill(unknown, 0.0)
    error = float(difference.norm() / golden.masked_fill(unknown, 0.0).norm())
    return Found(value.name, where, rows, positions, error=error)


def _factors(actual: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """By how much the rows of a tensor are larger: `[R, W]`, `[..., R, W]` -> `[...]`."""
    unknown = expected.isnan()
    actual, expected = (
        x.expand(unknown.shape).masked_fill(unknown, 0.0) for x in (actual, expected)
    )
    return ((actual * expected).sum(-1) / expected.square().sum(-1)).median(-1).values
