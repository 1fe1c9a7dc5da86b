"""Scans, products, order and choices along a dimension in float32, for `rounded`."""

import math

import torch

from ttnn_emulator.arithmetic import paths
from ttnn_emulator.arithmetic.compute import BFLOAT16, Compute, Formats, GroupedGate
from ttnn_emulator.arithmetic.formats import TILE
from ttnn_emulator.arithmetic.rounded.rounded_eltwise import promoted

UNSIGNED = {torch.uint8: 0xFF, torch.uint16: 0xFFFF, torch.uint32: 0xFFFFFFFF}
GATE = paths.approximation("the grouped gate's steps in float32, each rounded to bfloat16")


def wrapped(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """int64 values as arithmetic of the integer `dtype` leaves them."""
    if dtype in UNSIGNED:
        return values & UNSIGNED[dtype]
    return ((values + 2**31) & 0xFFFFFFFF) - 2**31


# --- sums and products ---------------------------------------------------------------------------


def tile_sum(
    x: torch.Tensor, dim: int, *, compute: Compute | None = None, out: str = "bfloat16"
) -> torch.Tensor:
    """See `interface.Arithmetic`."""
    return promoted(x).sum(dim, keepdim=True)


def product(
    x: torch.Tensor, dim: int | None, *, dtype: str = "bfloat16", out: str = "bfloat16"
) -> torch.Tensor:
    """See `interface.Arithmetic`."""
    return promoted(x).prod() if dim is None else promoted(x).prod(dim, keepdim=True)


def group_norm(
    x: torch.Tensor,
    groups: int,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    *,
    epsilon: float,
    compute: Compute | None = None,
    formats: Formats = BFLOAT16,
) -> torch.Tensor:
    """See `interface.Arithmetic`."""
    parts = x.float().unflatten(-1, (groups, -1))
    centred = parts - parts.mean((-3, -1), keepdim=True)
    variance = (centred * centred).mean((-3, -1), keepdim=True)
    y = (centred * torch.rsqrt(variance + epsilon)).flatten(-2)
    y = y if weight is None else y * weight.float()
    return y if bias is None else y + bias.float()


def cumulative(
    operation: str,
    x: torch.Tensor,
    dim: int,
    *,
    reverse: bool = False,
    compensated: bool = False,
    out: str = "bfloat16",
) -> torch.Tensor:
    """See `interface.Arithmetic`; integers wrap around at 32 bits."""
    steps = promoted(x).flip(dim) if reverse else promoted(x)
    running = steps.cumsum(dim) if operation == "sum" else steps.cumprod(dim)
    running = running.flip(dim) if reverse else running
    return running if x.is_floating_point() else wrapped(running, x.dtype)


def moving_average(
    x: torch.Tensor, alpha: float, *, compute: Compute | None = None, out: str = "bfloat16"
) -> torch.Tensor:
    """See `interface.Arithmetic`."""
    average = torch.zeros_like(x[..., 0], dtype=torch.float32)
    results = []
    for value in x.float().unbind(-1):
        average = alpha * average + (1 - alpha) * value
        results.append(average)
    return torch.stack(results, -1)


def state_scan(
    a: torch.Tensor, bx: torch.Tensor, state: torch.Tensor, *, compute: Compute | None = None
) -> torch.Tensor:
    """See `interface.Arithmetic`."""
    state = state.float()
    states = []
    for factor, term in zip(a.float().unbind(-2), bx.float().unbind(-2), strict=True):
        state = factor * state + term
        states.append(state)
    return torch.stack(states, -2)


def latent_product(
    a: torch.Tensor, b: torch.Tensor, *, compute: Compute | None = None
) -> torch.Tensor:
    """See `interface.Arithmetic`."""
    return a.float() * b.float()


def latent_sum(x: torch.Tensor, *, compute: Compute | None = None) -> torch.Tensor:
    """See `interface.Arithmetic`."""
    return x.float().unflatten(-1, (-1, TILE)).sum(-1)


def scattered(
    x: torch.Tensor,
    index: torch.Tensor,
    source: torch.Tensor,
    dim: int,
    reduction: str | None = None,
) -> torch.Tensor:
    """See `interface.Arithmetic`."""
    # a cell behind the last one takes what is passed over
    rows = torch.nn.functional.pad(promoted(x).movedim(dim, -1), (0, 1))
    index = index.movedim(dim, -1).long()
    index = torch.where((index < 0) | (index >= x.shape[dim]), x.shape[dim], index)
    source = promoted(source).movedim(dim, -1)[tuple(slice(size) for size in index.shape)]
    if reduction is None:
        for place, value in zip(index.split(1, -1), source.split(1, -1), strict=True):
            rows.scatter_(-1, place, value)
    else:
        names = {"add": "sum", "multiply": "prod"}
        rows.scatter_reduce_(-1, index, source, names.get(reduction, reduction))
    rows = rows[..., :-1].movedim(-1, dim)
    return rows if x.is_floating_point() else wrapped(rows, x.dtype)


# --- order ---------------------------------------------------------------------------------------


def sorted_rows(
    x: torch.Tensor, *, descending: bool = False, stable: bool = False, dtype: str = "bfloat16"
) -> tuple[torch.Tensor, torch.Tensor]:
    """See `interface.Arithmetic`; always stable."""
    return torch.sort(promoted(x), dim=-1, descending=descending, stable=True)


def top_of_rows(
    x: torch.Tensor,
    count: int,
    *,
    largest: bool = True,
    stable: bool = False,
    dtype: str = "bfloat16",
) -> tuple[torch.Tensor, torch.Tensor]:
    """See `interface.Arithmetic`; always stable."""
    values, places = sorted_rows(x, descending=largest)
    return values[..., :count], places[..., :count]


# --- choice of tokens and experts ----------------------------------------------------------------


def sampled(
    x: torch.Tensor,
    k: torch.Tensor,
    p: torch.Tensor,
    temperature: torch.Tensor,
    chances: torch.Tensor,
) -> torch.Tensor:
    """See `interface.Arithmetic`."""
    values, places = top_of_rows(x, int(k.max()))
    beyond = torch.arange(values.shape[-1]) >= k[:, None]
    shares = torch.softmax(
        (values * temperature.float()[:, None]).masked_fill(beyond, -math.inf), -1
    )
    return choose(shares, places, k, p, chances)


def choose(
    shares: torch.Tensor,
    places: torch.Tensor,
    k: torch.Tensor,
    p: torch.Tensor,
    chances: torch.Tensor,
) -> torch.Tensor:
    """int64 [B]: a place of each row by its share, as writer_interleaved.cpp of sampling chooses.

    Args:
        shares, places: [B, N] of the likeliest, in order.
        k: [B], p: [B], chances: [B]: see `interface.Arithmetic.sampled`.
    """
    chosen = []
    for share, place, count, limit, chance in zip(
        shares.float().tolist(),
        places.tolist(),
        k.tolist(),
        p.tolist(),
        chances.tolist(),
        strict=True,
    ):
        chosen.append(place[_one(share[:count], limit, chance)])
    return torch.tensor(chosen)


def _one(shares: list[float], limit: float, chance: float) -> int:
    """Of as many as exceed the limit together, the one whose running share exceeds the chance."""
    kept = torch.tensor(0.0)
    count = len(shares)
    for number, share in enumerate(shares):
        kept = kept + share
        if kept > limit:
            count = number + 1
            break
    total = torch.tensor(0.0)
    for number, share in enumerate(shares[:count]):
        total = total + torch.tensor(share) / kept
        if total > chance:
            return number
    return 0


def expert_share(
    x: torch.Tensor, expert_mask: torch.Tensor, top_mask: torch.Tensor, k: int
) -> torch.Tensor:
    """See `interface.Arithmetic`."""
    values, places = top_of_rows(x.float() + expert_mask.float(), k)
    shares = torch.softmax(values + top_mask.float(), -1)
    return torch.where(places == 0, shares, 0.0).sum(-1, keepdim=True)


def grouped_gate(
    scores: torch.Tensor, bias: torch.Tensor, gate: GroupedGate
) -> tuple[torch.Tensor, torch.Tensor]:
    """See `interface.Arithmetic`; both arithmetics compute it like this."""
    paths.tell(GATE)
    likely = _bfloat16(scores.float().sigmoid())
    biased = _bfloat16(likely + bias.float())
    groups = biased.unflatten(-1, (gate.groups, -1))
    totals = _bfloat16(top_of_rows(groups, gate.summed)[0].sum(-1))
    _, best = top_of_rows(totals, gate.chosen_groups)
    takes_part = torch.zeros_like(totals, dtype=torch.bool).scatter(-1, best, True)
    open_ = groups.masked_fill(~takes_part[..., None], -math.inf).flatten(-2)
    _, places = top_of_rows(open_, gate.experts)
    weights = likely.gather(-1, places)
    total = _bfloat16(weights.sum(-1, keepdim=True)) + gate.epsilon
    return _bfloat16(weights / total) * gate.scale, places


def _bfloat16(x: torch.Tensor) -> torch.Tensor:
    return x.bfloat16().float()
