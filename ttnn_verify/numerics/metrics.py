"""How far two tensors are apart: relative L2, worst row, PCC, ULPs, KL and top-k of logits.

Everything is computed in float64. Non-finite values are counted first and never masked: a metric
over tensors that hold one is NaN, and a comparison with it says so.
"""

import dataclasses
import math

import torch

# Significant bits of the floating-point formats, the leading one included.
SIGNIFICANT_BITS = {"float32": 24, "bfloat16": 8}

# Bits of a magnitude under a shared exponent; 16 neighbours of a row share one (tech report
# "tensor layouts"). Formats without an entry in either are integers, whose only metric is equality.
BLOCK_BITS = {"bfloat8_b": 7, "bfloat4_b": 3}
BLOCK = 16

LEAST_EXPONENT = -126  # of a normal number, in float32 and bfloat16 alike

# A histogram of errors has so many bins, over so many times their root mean square to either side.
HISTOGRAM_BINS, HISTOGRAM_REACH = 41, 5


@dataclasses.dataclass(frozen=True)
class NonFinite:
    """How many elements of a tensor are NaN or infinite."""

    nan: int
    inf: int

    def __bool__(self):
        return bool(self.nan or self.inf)

    def __str__(self):
        return f"{self.nan} NaN, {self.inf} inf"


@dataclasses.dataclass(frozen=True)
class MaxError:
    """The greatest absolute difference, the index it stands at and the two values there."""

    value: float
    index: tuple[int, ...]
    expected: float
    actual: float

    @property
    def tile(self):
        """(row, column) of the 32x32 tile that holds the index."""
        row, column = self._place
        return row // 32, column // 32

    @property
    def face(self):
        """Which 16x16 face of the tile: 0 and 1 above, 2 and 3 below."""
        row, column = self._place
        return row % 32 // 16 * 2 + column % 32 // 16

    @property
    def _place(self):
        row, column = ((0, 0) + self.index)[-2:]
        return row, column

    def __str__(self):
        return (
            f"{self.value:.3g} at {self.index} (tile {self.tile}, face {self.face}): "
            f"{self.actual:.6g} for {self.expected:.6g}"
        )


@dataclasses.dataclass(frozen=True)
class WorstRow:
    """The row (last dimension) with the greatest relative L2 error, and its index."""

    value: float
    index: tuple[int, ...]

    def __str__(self):
        return f"{self.value:.3g} in row {self.index}"


@dataclasses.dataclass(frozen=True)
class Ulps:
    """|actual - expected| in units in the last place: three percentiles and the greatest.

    0.5 is the greatest a correct rounding errs by. Near a zero of the expected values the unit is
    small, and a number that cancelled may be thousands of them off without harm.
    """

    p50: float
    p95: float
    p99: float
    max: float

    def __str__(self):
        return f"{self.p50:.2g}/{self.p95:.2g}/{self.p99:.2g}/{self.max:.3g}"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """`actual` against `expected`, elementwise: what `compare` returns.

    Attributes:
        shapes: of expected and actual. If they differ, every metric is NaN or None.
        dtype: the format that units in the last place are counted in.
        dtype_matches: whether the actual values are ones of the format asked for.
        elements: how many.
        nonfinite_expected, nonfinite_actual: NaN and infinite elements of each.
        nonfinite: elements that are NaN or infinite in one, and not the same in the other.
        mismatches: elements of different bits; NaN equals NaN, -0 does not equal 0.
        relative_l2: |actual - expected| / |expected|, Euclidean norms.
        worst_row: the same of the worst row, see `worst_row`; None without elements.
        pcc: Pearson's correlation; None where it is undefined: either is constant.
        spread: standard deviation of expected over its root mean square; 1 at a mean of zero.
        slope, intercept: of the least-squares line actual = slope * expected + intercept; None
            where expected is constant.
        cosine: of the angle between the two; None where either is zero.
        ulps: distance in the last place; None for integers.
        max_error: the greatest difference and where; None without elements.
        histogram: of the errors, see `histogram`; None where they are all zero or not all finite.
    """

    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    dtype: str
    dtype_matches: bool
    elements: int
    nonfinite_expected: NonFinite
    nonfinite_actual: NonFinite
    nonfinite: int
    mismatches: int
    relative_l2: float
    worst_row: WorstRow | None
    pcc: float | None
    spread: float
    slope: float | None
    intercept: float | None
    cosine: float | None
    ulps: Ulps | None
    max_error: MaxError | None
    histogram: tuple[int, ...] | None = None

    @property
    def shape_matches(self):
        return self.shapes[0] == self.shapes[1]

    @property
    def equal(self):
        """Bit equality, of shape and of every element."""
        return self.shape_matches and self.mismatches == 0

    def __str__(self):
        if not self.shape_matches:
            return f"shape {self.shapes[1]} for {self.shapes[0]}"
        if self.nonfinite:
            return (
                f"{self.elements} elements, not finite: {self.nonfinite_actual} in the result, "
                f"{self.nonfinite_expected} in the reference; first differing: {self.max_error}"
            )
        if self.equal:
            return f"{self.elements} elements, equal"
        pcc = "undefined (a constant)" if self.pcc is None else f"{self.pcc:.6f}"
        line = "" if self.slope is None else f"slope {self.slope:.4f}, "
        ulps = "" if self.ulps is None else f"ULP {self.ulps}, "
        return (
            f"{self.elements} elements, {self.mismatches} differ, "
            f"relative L2 {self.relative_l2:.3g} ({self.worst_row}), PCC {pcc}, {line}{ulps}"
            f"greatest error {self.max_error}"
        )

    def table(self):
        """One metric per line, for a failure's message."""
        rows = {
            "shape": self.shapes[1],
            "dtype": self.dtype if self.dtype_matches else f"not {self.dtype}",
            "not finite": f"{self.nonfinite_actual}; reference {self.nonfinite_expected}",
            "differ": f"{self.mismatches} of {self.elements}",
            "relative L2": f"{self.relative_l2:.4g}",
            "worst row": self.worst_row,
            "PCC": "undefined (a constant)" if self.pcc is None else f"{self.pcc:.7f}",
            "slope, offset": None
            if self.slope is None
            else f"{self.slope:.5f}, {self.intercept:.4g}",
            "cosine": None if self.cosine is None else f"{self.cosine:.7f}",
            f"ULP of {self.dtype}": self.ulps and f"{self.ulps} (p50/p95/p99/max)",
            "greatest error": self.max_error,
        }
        if not self.shape_matches:
            rows = {"shape": f"{self.shapes[1]} for {self.shapes[0]}"}
        return "\n".join(f"{name:16} {value}" for name, value in rows.items() if value is not None)


def nonfinite(tensor):
    """Count the NaN and infinite elements of `tensor`, of any shape and dtype."""
    return NonFinite(int(torch.isnan(tensor).sum()), int(torch.isinf(tensor).sum()))


def pcc(expected, actual):
    """Pearson's correlation of two tensors of the same shape, over all elements.

    It is undefined, and the result NaN, when either is constant (a constant has no direction to
    agree with; `relative_l2` and `max_error` judge those) or holds a non-finite value. It is blind
    to scale and offset, and one outlier can carry it, so no check should rest on it alone.
    """
    x, y = _pair(expected, actual)
    if _constant(x) or _constant(y):
        return math.nan
    return _cosine(x - x.mean(), y - y.mean())


def relative_l2(expected, actual):
    """|actual - expected| / |expected|, Euclidean norms over all elements.

    0 when both are zero everywhere, infinite when only `expected` is.
    """
    x, y = _pair(expected, actual)
    return _ratio(float((y - x).norm()), float(x.norm()))


def worst_row(expected, actual):
    """The row, last dimension, whose relative L2 error is the greatest, as a `WorstRow`.

    A wrong token or a row of zeros shows here when it drowns in the whole. A row that is zero in
    the reference has no size; its error is measured against the root mean square of all rows. A last
    dimension of 1 makes no rows, the one before it does.

    Raises:
        ValueError: the tensors have no elements or different shapes.
    """
    _same_shape(expected, actual)
    if expected.numel() == 0:
        raise ValueError("two tensors without elements have no worst row.")
    x = rows(expected)
    error, size = (rows(actual) - x).norm(dim=-1), x.norm(dim=-1)
    size = torch.where(size == 0, size.square().mean().sqrt(), size)
    share = torch.where(error == 0, 0.0, error / size)
    worst = share.argmax()  # takes a NaN for the greatest value
    return WorstRow(float(share.flatten()[worst]), _unravel(int(worst), tuple(share.shape)))


def rows(x):
    """`[..., W]` in float64, the last dimension of `x` that is larger than 1 as the last."""
    x = x.detach().double()
    while x.ndim and x.shape[-1] == 1:
        x = x.squeeze(-1)
    return x if x.ndim else x[None]


def max_error(expected, actual):
    """The element with the greatest absolute difference. A NaN counts as the greatest of all.

    Raises:
        ValueError: the tensors have no elements or different shapes.
    """
    x, y = _pair(expected, actual)
    if x.numel() == 0:
        raise ValueError("two tensors without elements have no greatest difference.")
    # argmax takes a NaN for the greatest value; equal infinities do not differ
    flat = int(torch.where(_same(x, y), 0.0, (y - x).abs()).argmax())
    a, b = float(x[flat]), float(y[flat])
    same = a == b or math.isnan(a) and math.isnan(b)
    return MaxError(0.0 if same else abs(b - a), _unravel(flat, expected.shape), a, b)


def unit(x, dtype):
    """The unit in the last place of format `dtype` at each value of `x`, float64.

    In a block-float format it is the step of the block of 16 columns that the value stands in.

    Args:
        x: any shape, finite.
        dtype: "float32", "bfloat16", "bfloat8_b" or "bfloat4_b".
    """
    size = x.detach().double().abs()
    if dtype in BLOCK_BITS:
        columns = size.shape[-1] if size.ndim else 1
        blocks = torch.nn.functional.pad(size.reshape(-1, columns), (0, -columns % BLOCK))
        greatest = blocks.unflatten(-1, (-1, BLOCK)).amax(-1).repeat_interleave(BLOCK, -1)
        exponent = _exponent(greatest[:, :columns].reshape(x.shape))
        # the greatest of a block fills its magnitude: no leading one is hidden
        return torch.ldexp(torch.ones_like(size), exponent - BLOCK_BITS[dtype] + 1)
    return torch.ldexp(torch.ones_like(size), _exponent(size) - SIGNIFICANT_BITS[dtype] + 1)


def ulps(expected, actual, dtype="bfloat16"):
    """The difference in units of `expected`'s last place in format `dtype`, as `Ulps`.

    Both are taken as they are, not rounded first. None without elements.
    """
    x, y = _pair(expected, actual)
    if x.numel() == 0:
        return None
    distance = (y - x).abs() / unit(expected, dtype).flatten()
    ordered = distance.sort().values  # NaN last
    places = [math.ceil(share * (len(ordered) - 1)) for share in (0.5, 0.95, 0.99, 1)]
    return Ulps(*(float(ordered[place]) for place in places))


def histogram(expected, actual):
    """How often which error occurs: `HISTOGRAM_BINS` counts over actual - expected.

    The bins are of equal width, from -`HISTOGRAM_REACH` to `HISTOGRAM_REACH` times the errors' root
    mean square; errors beyond count in the outermost. None where no element differs, or an error is
    not finite.
    """
    x, y = _pair(expected, actual)
    error = y - x
    reach = HISTOGRAM_REACH * float(error.square().mean().sqrt()) if x.numel() else 0.0
    if not 0 < reach < math.inf:
        return None
    counts = torch.histc(error.clamp(-reach, reach), HISTOGRAM_BINS, -reach, reach)
    return tuple(int(count) for count in counts)


def compare(expected, actual, dtype=None):
    """All of the above at once, as a `Comparison` that prints as one line.

    Args:
        expected: any shape, the reference.
        actual: the result. Another shape is a finding of the comparison, not an error.
        dtype: the format the result ought to have, by its TTNN name: "bfloat16", "float32",
            "bfloat8_b", "bfloat4_b", or an integer type's. None asks for nothing, and counts
            units of bfloat16, or of nothing for integers.
    """
    floating = actual.is_floating_point()
    named = dtype or ("bfloat16" if floating else str(actual.dtype).removeprefix("torch."))
    shapes = tuple(expected.shape), tuple(actual.shape)
    counts = nonfinite(expected), nonfinite(actual)
    head = (shapes, named, dtype is None or _of_format(actual, dtype), expected.numel(), *counts)
    if shapes[0] != shapes[1]:
        nan = math.nan
        return Comparison(*head, 0, 0, nan, None, None, nan, None, None, None, None, None)
    x, y = _pair(expected, actual)
    finite = x.isfinite() & y.isfinite()
    off = ~finite & ~_same(x, y)
    slope, intercept = _line(x, y)
    return Comparison(
        *head,
        nonfinite=int(off.sum()),
        mismatches=int((~_same(x, y)).sum()),
        relative_l2=relative_l2(expected, actual),
        worst_row=worst_row(expected, actual) if x.numel() else None,
        pcc=None if _constant(x) or _constant(y) else pcc(expected, actual),
        spread=_ratio(float((x - x.mean()).norm()), float(x.norm())) if x.numel() else 0.0,
        slope=slope,
        intercept=intercept,
        cosine=None if not x.any() or not y.any() else _cosine(x, y),
        ulps=ulps(expected, actual, named) if named in SIGNIFICANT_BITS | BLOCK_BITS else None,
        max_error=max_error(expected, actual) if x.numel() else None,
        histogram=histogram(expected, actual),
    )


def kl(expected, actual):
    """Kullback-Leibler divergence of softmax(actual) from softmax(expected), in nats, per row.

    Args:
        expected, actual: logits `[..., V]`. A logit of -inf is a probability of zero.

    Returns:
        `[...]` float64; 0 where the distributions are equal, NaN where a row holds a NaN.
    """
    _same_shape(expected, actual)
    p = torch.log_softmax(expected.double(), dim=-1)
    q = torch.log_softmax(actual.double(), dim=-1)
    # 0 * log 0 is 0; NaN - NaN stays NaN
    return torch.where(p == -math.inf, 0.0, p.exp() * (p - q)).sum(-1)


def rank(logits, tokens):
    """The place of each token among its row's logits, 0 for the greatest.

    Equal logits rank by token id, as argmax takes the first of them: rank 0 is the greedy choice.
    A row that holds a NaN has no order, its token ranks last.

    Args:
        logits: `[..., V]`.
        tokens: `[...]`, integers.

    Returns:
        `[...]` int64.
    """
    own = logits.gather(-1, tokens.unsqueeze(-1))
    ids = torch.arange(logits.shape[-1], device=logits.device)
    ahead = (logits > own) | ((logits == own) & (ids < tokens.unsqueeze(-1)))
    return torch.where(logits.isnan().any(-1), logits.shape[-1], ahead.sum(-1))


def topk_agreement(logits, tokens, k):
    """Share of the rows, 0 to 1, whose token is among the row's k greatest logits."""
    return float((rank(logits, tokens) < k).double().mean())


def _same_shape(expected, actual):
    if expected.shape != actual.shape:
        raise ValueError(
            f"the result has shape {tuple(actual.shape)}, the reference {tuple(expected.shape)}; "
            "only equal shapes compare."
        )


def _pair(expected, actual):
    """Both tensors flat in float64, their shapes checked."""
    _same_shape(expected, actual)
    return expected.detach().double().flatten(), actual.detach().double().flatten()


def _same(x, y):
    """Elementwise equality of bits, as far as float64 keeps them: any NaN equals any other."""
    return ((x == y) & (x.signbit() == y.signbit())) | (x.isnan() & y.isnan())


def _constant(x):
    # all equal, told exactly: the mean of equal values may round, and noise would correlate
    return x.numel() == 0 or bool((x == x[0]).all())


def _cosine(x, y):
    # each is divided by its own norm, so that tiny and huge tensors neither vanish nor overflow
    return float(torch.dot(x / x.norm(), y / y.norm()).clamp(-1, 1))


def _ratio(error, size):
    if size == 0:
        return error if error == 0 or math.isnan(error) else math.inf
    return error / size


def _line(x, y):
    """Slope and intercept of the least-squares line y over x."""
    if _constant(x):
        return None, None
    scale = x.abs().max()
    x = x / scale  # squares of tiny values would vanish
    centred = x - x.mean()
    slope = float(torch.dot(centred, y - y.mean()) / torch.dot(centred, centred))
    return float(slope / scale), float(y.mean() - slope * x.mean())


def _exponent(size):
    """Floor of the binary logarithm of non-negative values, of zeros and subnormals the least."""
    return (torch.frexp(size).exponent - 1).clamp(min=LEAST_EXPONENT)


def _unravel(flat, shape):
    return tuple(int(i) for i in torch.unravel_index(torch.tensor(flat), shape)) if shape else ()


def _of_format(actual, dtype):
    """Whether a tensor's values are ones of a format. A float32 tensor may hold bfloat16 values."""
    if dtype == "float32":
        return actual.dtype in (torch.float32, torch.float64)
    if dtype in SIGNIFICANT_BITS or dtype in BLOCK_BITS:  # block-float values are bfloat16 values
        return actual.is_floating_point() and bool(
            _same(actual.detach().double(), actual.detach().bfloat16().double()).all()
        )
    return not actual.is_floating_point()
