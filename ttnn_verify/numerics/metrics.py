"""How far two tensors are apart: relative L2, worst row, PCC, ULPs; KL and ranks of logits.

Everything is computed in float64. Non-finite values are counted first and never masked: a metric of
tensors that hold one is NaN, and the comparison says so.
"""

import math

import torch

from ttnn_verify.numerics.formats import BLOCK, BLOCK_BITS, LEAST_EXPONENT, SIGNIFICANT_BITS
from ttnn_verify.numerics.measurements import Comparison, MaxError, NonFinite, Ulps, WorstRow

# A histogram of errors has this many bins, over this many root mean squares to either side.
HISTOGRAM_BINS, HISTOGRAM_REACH = 41, 5


def nonfinite(tensor: torch.Tensor) -> NonFinite:
    """Count the NaN and infinite elements of `tensor`, of any shape and dtype."""
    return NonFinite(int(torch.isnan(tensor).sum()), int(torch.isinf(tensor).sum()))


def pcc(expected: torch.Tensor, actual: torch.Tensor) -> float:
    """Pearson's correlation of two tensors of the same shape, over all elements.

    It is undefined where either tensor is constant; then it is 1 if they are equal, and 0 if not:
    `relative_l2` and `max_error` say how far they are apart. NaN where either holds a non-finite
    value, or nothing at all. PCC is blind to scale and offset, and a single outlier can dominate
    it, so no check should rest on it alone.
    """
    x, y = _pair(expected, actual)
    if not x.numel() or not bool((x.isfinite() & y.isfinite()).all()):
        return math.nan
    if constant(x) or constant(y):
        return float(torch.equal(x, y))
    return _cosine(x - x.mean(), y - y.mean())


def constant(x: torch.Tensor) -> bool:
    """Whether all elements of a tensor of any shape are equal; NaN equals nothing."""
    # compared exactly: the mean of equal values may round, and the remainders would correlate
    return x.numel() == 0 or bool((x == x.flatten()[0]).all())


def relative_l2(expected: torch.Tensor, actual: torch.Tensor) -> float:
    """|actual - expected| / |expected|, Euclidean norms over all elements.

    0 when both are zero everywhere, infinite when only `expected` is.
    """
    x, y = _pair(expected, actual)
    return _ratio(float((y - x).norm()), float(x.norm()))


def worst_row(expected: torch.Tensor, actual: torch.Tensor) -> WorstRow:
    """The row (last dimension) with the greatest relative L2 error.

    A wrong token or a row of zeros shows here even where it is lost in the whole tensor. A row
    that is zero in the reference is measured against the root mean square norm of all rows.
    Trailing dimensions of size 1 are not rows: the dimension before them is used.

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


def rows(x: torch.Tensor) -> torch.Tensor:
    """`x` in float64 as `[..., W]`, trailing dimensions of size 1 dropped; W is 1 for a scalar."""
    x = x.detach().double()
    while x.ndim and x.shape[-1] == 1:
        x = x.squeeze(-1)
    return x if x.ndim else x[None]


def max_error(expected: torch.Tensor, actual: torch.Tensor) -> MaxError:
    """The element with the greatest absolute difference; a NaN counts as greater than any number.

    Raises:
        ValueError: the tensors have no elements or different shapes.
    """
    x, y = _pair(expected, actual)
    if x.numel() == 0:
        raise ValueError("two tensors without elements have no greatest difference.")
    # argmax takes a NaN for the greatest value; equal infinities do not differ
    flat = int(torch.where(_same(x, y), 0.0, (y - x).abs()).argmax())
    a, b = float(x[flat]), float(y[flat])
    same = a == b or (math.isnan(a) and math.isnan(b))
    return MaxError(0.0 if same else abs(b - a), _unravel(flat, tuple(expected.shape)), a, b)


def unit(x: torch.Tensor, dtype: str) -> torch.Tensor:
    """The unit in the last place of format `dtype` at each value of `x`, float64.

    In a block-float format it is the step of the value's block of 16 columns.

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


def ulps(expected: torch.Tensor, actual: torch.Tensor, dtype: str = "bfloat16") -> Ulps | None:
    """The difference in units in the last place of `expected` in format `dtype`.

    The unit is that of the value, but never less than that of the tensor's median magnitude, zeros
    aside: a value near zero is mostly a sum that cancelled, its error is that of the terms, and in
    units of what is left of them it would be thousands and say nothing. A correct rounding errs by
    a half at most. The median, since a few massive channels are not the scale of the others.

    Neither tensor is rounded to the format first. None without elements, and where all of
    `expected` is zero, which has no scale.
    """
    x, y = _pair(expected, actual)
    sizes = x[x.isfinite() & (x != 0)].abs()
    if not len(sizes):
        return None
    units = torch.maximum(unit(expected, dtype).flatten(), unit(sizes.median(), dtype))
    distance = (y - x).abs() / units
    ordered = distance.sort().values  # NaN last
    places = [math.ceil(share * (len(ordered) - 1)) for share in (0.5, 0.95, 0.99, 1)]
    return Ulps(*(float(ordered[place]) for place in places))


def histogram(expected: torch.Tensor, actual: torch.Tensor) -> tuple[int, ...] | None:
    """Histogram of the errors actual - expected, as `HISTOGRAM_BINS` counts.

    Bins have equal width, from -`HISTOGRAM_REACH` to `HISTOGRAM_REACH` times the root mean square
    of the errors; larger errors are counted in the outermost bins. None where no element differs,
    or an error is not finite.
    """
    x, y = _pair(expected, actual)
    error = y - x
    reach = HISTOGRAM_REACH * float(error.square().mean().sqrt()) if x.numel() else 0.0
    if not 0 < reach < math.inf:
        return None
    counts = torch.histc(error.clamp(-reach, reach), HISTOGRAM_BINS, -reach, reach)
    return tuple(int(count) for count in counts)


def compare(expected: torch.Tensor, actual: torch.Tensor, dtype: str | None = None) -> Comparison:
    """All of the above at once, as a `Comparison` that prints as one line.

    Args:
        expected: any shape, the reference.
        actual: the result. A different shape is reported in the comparison, it is not an error.
        dtype: the format the result should have, by its TTNN name: "bfloat16", "float32",
            "bfloat8_b", "bfloat4_b" or an integer type. None accepts any format; ULPs are then
            those of bfloat16, and None for integers.
    """
    floating = actual.is_floating_point()
    format_name = dtype or ("bfloat16" if floating else str(actual.dtype).removeprefix("torch."))
    shapes = tuple(expected.shape), tuple(actual.shape)
    matches = dtype is None or _of_format(actual, dtype)
    counts = nonfinite(expected), nonfinite(actual)
    if shapes[0] != shapes[1]:
        return Comparison.of_other_shape(shapes, format_name, matches, expected.numel(), counts)
    x, y = _pair(expected, actual)
    finite, same = x.isfinite() & y.isfinite(), _same(x, y)
    slope, intercept = _line(x, y)
    floats = SIGNIFICANT_BITS | BLOCK_BITS
    return Comparison(
        shapes=shapes,
        dtype=format_name,
        dtype_matches=matches,
        elements=expected.numel(),
        nonfinite_expected=counts[0],
        nonfinite_actual=counts[1],
        nonfinite=int((~finite & ~same).sum()),
        mismatches=int((~same).sum()),
        relative_l2=relative_l2(expected, actual),
        worst_row=worst_row(expected, actual) if x.numel() else None,
        pcc=_pcc_if_defined(x, y),
        spread=_ratio(float((x - x.mean()).norm()), float(x.norm())) if x.numel() else 0.0,
        slope=slope,
        intercept=intercept,
        cosine=None if not x.any() or not y.any() else _cosine(x, y),
        ulps=ulps(expected, actual, format_name) if format_name in floats else None,
        max_error=max_error(expected, actual) if x.numel() else None,
        histogram=histogram(expected, actual),
    )


def kl(expected: torch.Tensor, actual: torch.Tensor) -> torch.Tensor:
    """Kullback-Leibler divergence of softmax(actual) from softmax(expected), in nats, per row.

    Args:
        expected, actual: logits `[..., V]`. A logit of -inf means a probability of zero.

    Returns:
        `[...]` float64: 0 where the distributions are equal, NaN where a row holds a NaN.
    """
    _same_shape(expected, actual)
    p = torch.log_softmax(expected.double(), dim=-1)
    q = torch.log_softmax(actual.double(), dim=-1)
    # 0 * log 0 is 0; NaN - NaN stays NaN
    return torch.where(p == -math.inf, 0.0, p.exp() * (p - q)).sum(-1)


def rank(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Each token's rank among the logits of its row, 0 for the greatest.

    Ties are ordered by token id, as argmax does, so that rank 0 is the greedy choice. In a row that
    holds a NaN the token ranks last.

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


def _same_shape(expected: torch.Tensor, actual: torch.Tensor) -> None:
    if expected.shape != actual.shape:
        raise ValueError(
            f"the result has shape {tuple(actual.shape)}, the reference {tuple(expected.shape)}; "
            "only equal shapes compare."
        )


def _pair(expected: torch.Tensor, actual: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both tensors flat in float64, their shapes checked."""
    _same_shape(expected, actual)
    return expected.detach().double().flatten(), actual.detach().double().flatten()


def _same(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Elementwise equality of bits, as far as float64 keeps them: any NaN equals any other."""
    return ((x == y) & (x.signbit() == y.signbit())) | (x.isnan() & y.isnan())


def _cosine(x: torch.Tensor, y: torch.Tensor) -> float:
    # each is divided by its own norm: no underflow of tiny tensors, no overflow of huge ones
    return float(torch.dot(x / x.norm(), y / y.norm()).clamp(-1, 1))


def _ratio(error: float, size: float) -> float:
    if size == 0:
        return error if error == 0 or math.isnan(error) else math.inf
    return error / size


def _pcc_if_defined(x: torch.Tensor, y: torch.Tensor) -> float | None:
    """None where two tensors differ and either is constant: no figure says how far."""
    undefined = constant(x) or constant(y)
    return None if undefined and not (x.numel() and torch.equal(x, y)) else pcc(x, y)


def _line(x: torch.Tensor, y: torch.Tensor) -> tuple[float | None, float | None]:
    """Slope and intercept of the least-squares line y over x."""
    if constant(x):
        return None, None
    scale = x.abs().max()
    x = x / scale  # squares of tiny values would underflow
    centred = x - x.mean()
    slope = float(torch.dot(centred, y - y.mean()) / torch.dot(centred, centred))
    return float(slope / scale), float(y.mean() - slope * x.mean())


def _exponent(size: torch.Tensor) -> torch.Tensor:
    """floor(log2(size)) of non-negative values; `LEAST_EXPONENT` for zeros and subnormals."""
    return (torch.frexp(size).exponent - 1).clamp(min=LEAST_EXPONENT)


def _unravel(flat: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(i) for i in torch.unravel_index(torch.tensor(flat), shape)) if shape else ()


def _of_format(actual: torch.Tensor, dtype: str) -> bool:
    """Whether all values are representable in a format, whatever type the tensor has."""
    if dtype == "float32":
        return actual.dtype in (torch.float32, torch.float64)
    if dtype in SIGNIFICANT_BITS or dtype in BLOCK_BITS:  # block-float values are bfloat16 values
        return actual.is_floating_point() and bool(
            _same(actual.detach().double(), actual.detach().bfloat16().double()).all()
        )
    return not actual.is_floating_point()
