"""The order in which a model keeps the columns of queries and keys, found in their values.

A model may keep the columns of its rotated heads in any order, as long as queries and keys have the
same: their products do not depend on it. It may keep some twice, and padding between them.
"""

import dataclasses
import functools

import torch

# Below this relative L2 distance two columns count as the same. Errors of a product of bfloat16
# numbers are a hundredth of it, those of columns that are not the same are about 1.4.
SAME_COLUMN = 0.1
FEWEST_ROWS = 4  # of values by which columns are told apart
# Copies come of the same numbers by the same steps: they differ by a rounding at most. Of a token's
# few rows some columns are within `SAME_COLUMN` of another one by chance.
COPY = 0.02


_PROBES = 16  # random projections by which rows are told apart


@functools.cache
def _probe(width: int) -> torch.Tensor:
    return torch.randn(width, _PROBES, generator=torch.Generator().manual_seed(width))


def signatures(rows: torch.Tensor) -> torch.Tensor:
    """Rows [n, W] by their random projections [n, 16]; of a row with NaN they are infinite."""
    projected = rows @ _probe(rows.shape[-1])
    return projected.nan_to_num(nan=1e30, posinf=1e30, neginf=-1e30)


@dataclasses.dataclass(frozen=True, eq=False)
class ColumnOrder:
    """Where the D columns of a head lie among the W of a tensor's.

    Attributes:
        places: int64 [D], the tensor's column for each of Hugging Face's, the first of equal ones.
        columns: int64 [W], Hugging Face's column for each of the tensor's; -1 for padding.
    """

    places: torch.Tensor
    columns: torch.Tensor

    @property
    def has_copies(self) -> bool:
        """Whether a tensor has some columns twice."""
        return int((self.columns >= 0).sum()) > len(self.places)


def find(actual: torch.Tensor, expected: torch.Tensor) -> ColumnOrder | None:
    """The order in which a tensor's columns are those expected, None if they are not.

    Args:
        actual: [rows, W]; expected: [rows, D], W >= D.
    """
    if len(actual) < FEWEST_ROWS or actual.shape[1] < expected.shape[1]:
        return None
    if not _may_be(actual.float().T, expected.float().T):
        return None
    distances = torch.cdist(expected.float().T, actual.float().T)  # [D, W]
    distances = distances.nan_to_num(nan=torch.inf)
    same = distances <= SAME_COLUMN * expected.float().norm(dim=0)[:, None]
    places = distances.argmin(1)
    if not same.any(1).all() or len(places.unique()) < len(places):
        return None
    nearest = distances.argmin(0)
    first = actual.float()[:, places[nearest]]  # what each column would be a copy of
    copies = (actual.float() - first).norm(dim=0) <= COPY * first.norm(dim=0)
    columns = torch.where(same.any(0) & copies, nearest, -1)
    return ColumnOrder(places, columns)


def _may_be(actual: torch.Tensor, expected: torch.Tensor) -> bool:
    """Whether some of the columns [D, rows] are nearly among [W, rows]: hardly ever, if not all."""
    few = expected[:: max(len(expected) // _PROBES, 1)]
    least = torch.cdist(few, actual).nan_to_num(nan=torch.inf).amin(1)
    return bool((least <= 2 * SAME_COLUMN * few.norm(dim=1)).all())
