"""How far two tensors are apart: PCC, relative L2, greatest error, KL and top-k of logits.

Everything is computed in float64. Non-finite values are counted first and never masked: a metric
over tensors that hold one is NaN, and a comparison with it says so.
"""

import dataclasses
import math

import torch


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

    def __str__(self):
        return f"{self.value:.3g} at {self.index}: {self.actual:.6g} for {self.expected:.6g}"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """`actual` against `expected`, elementwise. The metrics are NaN where they are undefined."""

    elements: int
    nonfinite_expected: NonFinite
    nonfinite_actual: NonFinite
    pcc: float
    relative_l2: float
    max_error: MaxError | None

    def __str__(self):
        if self.nonfinite_expected or self.nonfinite_actual:
            return (
                f"{self.elements} elements, not finite: {self.nonfinite_actual} in the result, "
                f"{self.nonfinite_expected} in the reference"
            )
        pcc = "undefined (a constant)" if math.isnan(self.pcc) else f"{self.pcc:.6f}"
        return (
            f"{self.elements} elements, PCC {pcc}, relative L2 {self.relative_l2:.3g}, "
            f"greatest error {self.max_error}"
        )


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
    # all equal, told exactly: the mean of equal values may round, and noise would correlate
    if x.numel() == 0 or bool((x == x[0]).all()) or bool((y == y[0]).all()):
        return math.nan
    x, y = x - x.mean(), y - y.mean()
    # each is divided by its own norm, so that tiny and huge tensors neither vanish nor overflow
    return float(torch.dot(x / x.norm(), y / y.norm()).clamp(-1, 1))


def relative_l2(expected, actual):
    """|actual - expected| / |expected|, Euclidean norms over all elements.

    0 when both are zero everywhere, infinite when only `expected` is.
    """
    x, y = _pair(expected, actual)
    error, size = float((y - x).norm()), float(x.norm())
    if size == 0:
        return error if error == 0 or math.isnan(error) else math.inf
    return error / size


def max_error(expected, actual):
    """The element with the greatest absolute difference. A NaN counts as the greatest of all.

    Raises:
        ValueError: the tensors have no elements or different shapes.
    """
    x, y = _pair(expected, actual)
    if x.numel() == 0:
        raise ValueError("two tensors without elements have no greatest difference.")
    # argmax takes a NaN for the greatest value; equal infinities do not differ
    flat = int(torch.where(x == y, 0.0, (y - x).abs()).argmax())
    index = tuple(int(i) for i in torch.unravel_index(torch.tensor(flat), expected.shape))
    a, b = float(x[flat]), float(y[flat])
    return MaxError(0.0 if a == b else abs(b - a), index, a, b)


def compare(expected, actual):
    """All of the above at once, as a `Comparison` that prints as one line.

    Raises:
        ValueError: the shapes differ.
    """
    x, _ = _pair(expected, actual)
    return Comparison(
        elements=x.numel(),
        nonfinite_expected=nonfinite(expected),
        nonfinite_actual=nonfinite(actual),
        pcc=pcc(expected, actual),
        relative_l2=relative_l2(expected, actual),
        max_error=max_error(expected, actual) if x.numel() else None,
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
