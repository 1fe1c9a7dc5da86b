"""The noise floor of scaled dot-product attention, over a prompt and in a decode step."""

import math
from typing import Any

import torch

from ttnn_verify.numerics.compute_config import ComputeConfig
from ttnn_verify.numerics.destination import exponentials, packed, product
from ttnn_verify.numerics.floors import Floor
from ttnn_verify.numerics.formats import TILE
from ttnn_verify.numerics.rounding import BF16_BITS, TF32_BITS, add, cut, multiply, nearest

K_CHUNK = 1  # tiles of keys whose products are summed at a time


def attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, out: str = "bfloat16", **options: Any
) -> Floor:
    """Scaled dot-product attention, q `[B, N, S, D]`, k and v `[B, K, C, D]`.

    Args:
        out: the format of the result.
        options: keyword arguments of `rounded_attention`.
    """
    exact, result = rounded_attention(q, k, v, **options)
    compute = options.get("compute") or ComputeConfig()
    named = {name: options[name] for name in ("scale", "causal", "mask") if name in options}
    weights = torch.softmax(_scores(q, k, **named)[0], -1)
    count = _independent(weights, exact, v.double().repeat_interleave(q.shape[1] // v.shape[1], 1))
    return packed(exact, result, out, compute.fp32_dest_acc, count)


def _independent(weights: torch.Tensor, exact: torch.Tensor, v: torch.Tensor) -> int:
    """How many errors of weights are independent: all columns of a row share those of few keys.

    An error of a weight moves a row along v - row; that of the greatest score is none, since the
    exponential of 0 is exact. The participation ratio of what is left.

    Args:
        weights: `[B, N, S, C]`; batch rows that equal the last one, of idle users, count once.
        exact: `[B, N, S, D]`.
        v: `[B, N, C, D]`.
    """
    squares = v.square().sum(-1)[..., None, :] + exact.square().sum(-1, keepdim=True)
    share = weights.square() * (squares - 2 * exact @ v.mT).clamp(min=0)
    share = share.scatter(-1, weights.argmax(-1, keepdim=True), 0.0).nan_to_num(0.0)
    repeated = (weights[:-1] == weights[-1:]).flatten(1).all(-1)
    share = torch.cat((share[:-1][~repeated], share[-1:]))
    if not share.any():  # each row has one key: nothing but its columns' roundings
        return exact.numel()
    return max(round(float(share.sum() ** 2 / share.square().sum())), 1)


def _scores(
    q: torch.Tensor,
    k: torch.Tensor,
    scale: float | None = None,
    causal: bool = True,
    mask: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(exact scores `[B, N, S, C]` float64, what is added to them to hide keys)."""
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    k = k.repeat_interleave(q.shape[1] // k.shape[1], 1)
    visible = torch.zeros(1, 1, q.shape[-2], k.shape[-2])
    if causal:
        hidden = torch.ones(visible.shape, dtype=torch.bool).triu(1 + k.shape[-2] - q.shape[-2])
        visible = visible.masked_fill(hidden, -math.inf)
    elif mask is not None:
        visible = mask.float()
    return q.double() @ k.double().transpose(-1, -2) * scale + visible.double(), visible


def rounded_attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    scale: float | None = None,
    causal: bool = True,
    mask: torch.Tensor | None = None,
    compute: ComputeConfig | None = None,
    exp_approximate: bool = True,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention computed exactly and with the roundings of its kernel, but for the last rounding.

    The steps are those of sdpa.cpp and sdpa_flash_decode.cpp: scores, exponentials, their sum and
    their product with v, chunk by chunk; the division by the sum comes last.

    Args:
        q, k, v: `[B, N, S, D]`, `[B, K, C, D]` twice.
        scale: None for 1 / sqrt(D).
        causal: query s sees the keys 0 to s + C - S.
        mask: `[B or 1, N or 1, S, C]`, added to the scaled scores where `causal` is False. A decode
            step with a position per batch row has S = 1 and a mask of -inf beyond the position.
        compute: None for TTNN's own.
        exp_approximate: whether the exponential of the scores is the approximate one. With a 16-bit
            destination a prompt always uses it, whatever the program config says; so does a decode
            step with positions and at most 16 heads.

    Returns:
        (exact float64, rounded float32), each `[B, N, S, D]`.
    """
    compute = compute or ComputeConfig()
    fidelity, fp32_dest_acc = compute.fidelity, compute.fp32_dest_acc
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    scores, visible = _scores(q, k, scale, causal, mask)
    heads = q.shape[1] // k.shape[1]
    k, v = (x.float().repeat_interleave(heads, 1) for x in (k, v))
    q, padding = q.float(), -k.shape[-2] % TILE
    exact = torch.softmax(scores, -1) @ v.double()
    k, v = (torch.nn.functional.pad(x, (0, 0, 0, padding)) for x in (k, v))
    q, k = (torch.nn.functional.pad(x, (0, -x.shape[-1] % TILE)) for x in (q, k))
    visible = torch.nn.functional.pad(visible, (0, padding), value=-math.inf)

    def intermediate(x: torch.Tensor) -> torch.Tensor:
        """x as it is read again; a decode step keeps all intermediate results in bfloat16."""
        return cut(x, TF32_BITS) if fp32_dest_acc and q.shape[-2] > 1 else nearest(x, BF16_BITS)

    scores = product(q, k.transpose(-1, -2), fidelity, fp32_dest_acc)
    scores = intermediate(scores) + visible / scale
    greatest = scores.amax(-1, keepdim=True)
    shifted = add(scores.clamp(min=-1e30), -greatest, fp32_dest_acc) * scale
    weights = exponentials(shifted, exp_approximate, fp32_dest_acc)
    # a partial sum for each column of a tile, accumulated in bfloat16
    partial = torch.zeros(*weights.shape[:-1], TILE)
    for tile in weights.split(TILE, -1):
        partial = (partial + tile).bfloat16().float()
    total = nearest(product(partial, torch.ones(TILE, 1), fidelity, fp32_dest_acc), BF16_BITS)
    values = product(weights, v, fidelity, fp32_dest_acc, k_block=K_CHUNK)
    # the vector unit truncates, the packer rounds
    inverse = nearest(1 / total, BF16_BITS) if fp32_dest_acc else cut(1 / total, BF16_BITS)
    return exact, multiply(inverse, intermediate(values), fidelity, fp32_dest_acc)
