"""Scaled dot product attention over a prompt, step by step.

B batch, N heads, K kv heads, G = N / K heads that share one, S queries, T keys, D head_dim.
Tensors are float32 or bfloat16 and hold bfloat16 values; results are float32, rounded as the packer
rounds them. Kernel sources: sdpa.cpp, compute_streaming.hpp (16-bit Dst), compute_common.hpp
(32-bit Dst). Chunks of queries (q_chunk) are independent of each other; each goes through the keys
in chunks (k_chunk) with a running maximum, a running sum and a running output.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from ttnn_emulator.arithmetic.compute import CAUSAL, PromptScores, default_scale
from ttnn_emulator.arithmetic.exact.attention_steps import (
    AttentionConfig,
    correction,
    larger,
    product,
)
from ttnn_emulator.arithmetic.exact.matrix import eltwise_unit
from ttnn_emulator.arithmetic.exact.matrix.matrix_unit import LANES, row_max, row_sum, unpack
from ttnn_emulator.arithmetic.exact.packer import add_in_l1, pack, pack_bfloat16
from ttnn_emulator.arithmetic.exact.vector import vector_binary
from ttnn_emulator.arithmetic.exact.vector.vector_exponential import (
    attention_score_exp,
    attention_score_exp_accurate,
)
from ttnn_emulator.arithmetic.exact.vector.vector_roots import attention_reciprocal
from ttnn_emulator.arithmetic.exact.vector.vector_unit import add as add_lanes
from ttnn_emulator.arithmetic.exact.vector.vector_unit import store
from ttnn_emulator.arithmetic.formats import TILE, ceil_div

DST_TILES = 8  # tiles of a 16-bit Dst in half synchronisation

# Shapes (height, width) of a block of tiles in Dst, the preferred ones first
# (determine_largest_subblock_size of the program factory).
SUBBLOCKS = (
    *((2, 4), (4, 2), (1, 8), (8, 1), (1, 7), (7, 1), (2, 3), (3, 2), (1, 6), (6, 1)),
    *((1, 5), (5, 1), (2, 2), (1, 4), (4, 1), (1, 3), (3, 1), (1, 2), (2, 1), (1, 1)),
)


@dataclass(frozen=True)
class _Visible:
    """Which keys each query sees.

    Attributes:
        hidden: [S, T] bool, keys that the kernel's own masks hide.
        mask: [B*K, G, S, T], the caller's mask as it is added to scores before scaling, or None.
        causal: whether chunks of keys after a chunk of queries are skipped.
        start: position of the first query.
        stamped: whether the packer adds the kernel's own masks in L1; else the matrix unit does.
    """

    hidden: torch.Tensor
    mask: torch.Tensor | None
    causal: bool
    start: int
    stamped: bool


def attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    scores: PromptScores = CAUSAL,
    config: AttentionConfig | None = None,
    out: str = "bfloat16",
) -> torch.Tensor:
    """softmax(query @ key^T * scale + mask) @ value.

    Args:
        query: [B, N, S, D]; rows are independent, so padding rows need not be given.
        key, value: [B, K, T, D] and [B, K, T, Dv], T with its padding: the kernel reads it.
        scores: how scores are made of products; a mask replaces the causal one.
        config: how the kernel is built; None is TTNN's default.
        out: format of the result, as `packer.pack` names it.

    Returns:
        [B, N, S, Dv] float32.

    Raises:
        ValueError: for a sink beside a 32-bit Dst.
    """
    config = config or AttentionConfig()
    fp32_dest_acc = config.compute.fp32_dest_acc
    batch, heads, rows, width = query.shape
    kv_heads, length = key.shape[1:3]
    scale = default_scale(width) if scores.scale is None else scores.scale
    scale = torch.tensor(scale, dtype=torch.float32).item()
    mask, sink, window = scores.mask, scores.sink, scores.window
    causal = scores.causal and mask is None
    if mask is not None:
        mask = _scaled_mask(mask, scale, scores.mask_format).expand(batch, heads, rows, length)
        mask = _by_kv_head(mask, kv_heads)
    if sink is not None:
        sink = sink.float().expand(batch, heads)[..., None, None]
        sink = _by_kv_head(sink, kv_heads)
    visible = _Visible(
        hidden=_hidden(scores.start, rows, length, causal, window, scores.keys),
        mask=mask,
        causal=causal,
        start=scores.start,
        stamped=not fp32_dest_acc or (causal and window is None),  # use_lightweight_causal_mask
    )
    run = _in_32_bits if fp32_dest_acc else _in_16_bits
    result = run(
        _by_kv_head(query, kv_heads),
        key.reshape(batch * kv_heads, length, width),
        value.reshape(batch * kv_heads, length, -1),
        scale,
        visible,
        sink,
        config,
    )
    return pack(result, out, fp32_dest_acc).reshape(batch, heads, rows, -1)


def _by_kv_head(x: torch.Tensor, kv_heads: int) -> torch.Tensor:
    """[B, N, S, X] -> [B*K, G, S, X]."""
    batch, heads, rows, width = x.shape
    return x.reshape(batch * kv_heads, heads // kv_heads, rows, width)


def _hidden(
    start: int, rows: int, length: int, causal: bool, window: int | None, keys: int | None
) -> torch.Tensor:
    """[S, T] bool, which keys the kernel's own masks hide."""
    position = torch.arange(start, start + rows)[:, None]
    column = torch.arange(length)
    hidden = torch.zeros(rows, length, dtype=torch.bool)
    if causal:
        hidden |= column > position
    elif keys is not None:
        hidden |= column >= keys
    if window is not None:
        hidden |= column <= position - window
    return hidden


def _scaled_mask(mask: torch.Tensor, scale: float, mask_format: str) -> torch.Tensor:
    """The mask divided by the scale, which the exponential applies to scores and mask alike.

    TTNN multiplies it by a scalar before the kernel: nearest even (binary_ng).
    """
    inverse = torch.tensor(1 / scale).bfloat16().float()
    return pack(vector_binary.multiply(mask.float(), inverse), mask_format, fp32_dest_acc=False)


def _chunks(
    rows: int, length: int, visible: _Visible, config: AttentionConfig
) -> Iterator[tuple[int, int, int]]:
    """(first column, end column, first row) of each chunk of keys, for the rows that take it.

    Rows are taken by whole chunks of queries; a causal chunk of queries stops at its diagonal.
    """
    q_chunk, k_chunk = config.program.q_chunk, config.program.k_chunk
    for first in range(0, length, k_chunk):
        row = 0
        if visible.causal:
            row = max(first - visible.start, 0) // q_chunk * q_chunk
        if row < rows:
            yield first, min(first + k_chunk, length), row


class _Scores:
    """query @ key^T a few columns at a time, so that the matrix unit's lanes are full."""

    def __init__(
        self, query: torch.Tensor, key: torch.Tensor, config: AttentionConfig, out: str
    ) -> None:
        self.query, self.key, self.config, self.out = query, key, config, out
        self.first = self.end = self.row = 0

    def __call__(self, first: int, end: int, row: int) -> torch.Tensor:
        """[B*K, G, S - row, end - first]."""
        if end > self.end:
            columns = max(LANES, self.config.program.k_chunk)
            self.first, self.end, self.row = first, min(first + columns, self.key.shape[1]), row
            self.block = product(
                self.query[:, :, row:],
                self.key[:, self.first : self.end].transpose(1, 2),
                self.config,
                self.out,
            )
        return self.block[:, :, row - self.row :, first - self.first : end - self.first]


def _hide(scores: torch.Tensor, first: int, end: int, row: int, visible: _Visible) -> torch.Tensor:
    """Minus infinity on the scores that the kernel's own masks hide.

    Infinity plus minus infinity is NaN to the packer and 0 to the matrix unit.
    """
    hidden = visible.hidden[row:, first:end]
    if not hidden.any():
        return scores
    cancelled = torch.nan if visible.stamped else 0.0
    return torch.where(hidden, torch.where(scores == math.inf, cancelled, -math.inf), scores)


def _sum_of_tiles(probabilities: torch.Tensor, float32: bool) -> torch.Tensor:
    """[..., X] -> [..., 32]: tiles added one after the other in L1, which may hold float32."""
    tiles = probabilities.split(TILE, -1)
    total = tiles[0]
    for tile in tiles[1:]:
        total = add_in_l1(total, tile, float32)
    return total


# --- 16-bit Dst: compute_streaming.hpp -----------------------------------------------------------


def _in_16_bits(query, key, value, scale, visible, sink, config):
    """[B*K, G, S, Dv] in a 16-bit Dst."""
    rows, length = query.shape[2], key.shape[1]
    fidelity = config.compute.fidelity
    scores_of = _Scores(query, key, config, "bfloat16")
    largest = torch.empty(*query.shape[:3], 1)
    total = torch.empty(*query.shape[:3], TILE)
    output = torch.empty(*query.shape[:3], value.shape[-1])
    for first, end, row in _chunks(rows, length, visible, config):
        scores = scores_of(first, end, row)
        if visible.mask is None:
            scores = _hide(scores, first, end, row, visible)
        else:
            scores = add_in_l1(scores, visible.mask[:, :, row:, first:end], float32=False)
        new = row_max(scores)
        if first:
            old = largest[:, :, row:]
            new = larger(old, new)
        # Always the approximate exponential, whatever exp_approx_mode says.
        difference = eltwise_unit.subtract(scores, new)
        probabilities = attention_score_exp(difference, scale)
        chunk_total = _sum_of_tiles(probabilities, float32=False)
        chunk_output = _weighted_values(
            probabilities, value[:, first:end], first, row, visible, config
        )
        if first:
            factor = correction(old, new, scale, config)
            rescaled = eltwise_unit.multiply(total[:, :, row:], factor, fidelity=fidelity)
            chunk_total = add_in_l1(chunk_total, rescaled, float32=False)
            rescaled = eltwise_unit.multiply(output[:, :, row:], factor, fidelity=fidelity)
            chunk_output = add_in_l1(chunk_output, rescaled, float32=False)
        largest[:, :, row:] = new
        total[:, :, row:] = chunk_total
        output[:, :, row:] = chunk_output
    denominator = row_sum(total, config.compute)
    if sink is not None:
        share = correction(largest, sink, -scale, config)
        denominator = store(add_lanes(denominator, share), fp32_dest_acc=False)
    inverse = attention_reciprocal(
        denominator, approximate=config.compute.approximate, streaming=True
    )
    return eltwise_unit.multiply(output, inverse, fidelity=fidelity)


def _weighted_values(probabilities, value, first, row, visible, config):
    """probabilities @ value of one chunk of keys.

    The rows of a chunk of queries that the kernel computes first take the keys in pieces, as their
    exponentials become ready, and sum the pieces in L1. The other rows take all keys at once.
    """
    width = _subblock(config.program.q_chunk // TILE, config.program.k_chunk // TILE)[1] * TILE
    rows = torch.arange(row, row + probabilities.shape[2])
    pieces = []
    if width < config.program.k_chunk:
        pieces = list(_pieces(rows, first, len(value[0]), width, value.shape[-1], visible, config))
    result = torch.empty(*probabilities.shape[:3], value.shape[-1])
    unsplit = torch.ones_like(rows, dtype=torch.bool)
    for piece, extent, chosen in pieces:
        unsplit[chosen] = False
        part = probabilities[:, :, chosen]
        total = None
        for k in range(0, extent, piece):
            addend = product(part[..., k : k + piece], value[:, k : k + piece], config, "bfloat16")
            total = addend if total is None else add_in_l1(total, addend, float32=False)
        result[:, :, chosen] = total
    if unsplit.all():
        return product(probabilities, value, config, "bfloat16")
    if unsplit.any():
        result[:, :, unsplit] = product(probabilities[:, :, unsplit], value, config, "bfloat16")
    return result


def _pieces(
    rows: torch.Tensor,
    first: int,
    available: int,
    width: int,
    value_width: int,
    visible: _Visible,
    config: AttentionConfig,
) -> Iterator[tuple[int, int, torch.Tensor]]:
    """(columns of a piece, columns of all pieces, row indices) for the rows computed first.

    In its diagonal chunk of keys a chunk of queries takes only the keys up to its own end, in the
    widest pieces that divide them (largest_factor_le). The last chunk of keys without a causal mask
    is cut likewise.
    """
    q_chunk, k_chunk = config.program.q_chunk, config.program.k_chunk
    early = rows % q_chunk < _first_rows(q_chunk, value_width)
    active = torch.full_like(rows, available if visible.mask is None else k_chunk)
    if visible.causal:
        chunk_end = visible.start + (rows // q_chunk + 1) * q_chunk
        active = (chunk_end - first).clamp(max=k_chunk)
    for extent in active[early].unique().tolist():
        tiles, widest = extent // TILE, width // TILE
        piece = next(f for f in range(widest, 0, -1) if tiles % f == 0) * TILE
        if piece < extent:
            chosen = torch.nonzero(early & (active == extent)).flatten()
            yield piece, min(extent, available), chosen


def _subblock(height: int, width: int, highest: int = DST_TILES) -> tuple[int, int]:
    """Shape in tiles of the subblocks in which height x width tiles pass through a 16-bit Dst."""
    return next(
        (h, w)
        for h, w in SUBBLOCKS
        if h <= highest and h * w <= DST_TILES and height % h == 0 and width % w == 0
    )


def _first_rows(q_chunk: int, value_width: int) -> int:
    """Rows of a chunk of queries whose output is computed first (sdpa_streaming_qktv.hpp).

    Two rows of tiles at most, where they fit in Dst beside each other.
    """
    tiles = q_chunk // TILE
    height, width = _subblock(tiles, ceil_div(value_width, TILE), highest=2)
    if height == 1 and 2 * width <= DST_TILES and tiles >= 2:
        height = 2
    return height * TILE


# --- 32-bit Dst: compute_common.hpp --------------------------------------------------------------


def _in_32_bits(query, key, value, scale, visible, sink, config):
    """[B*K, G, S, Dv] in a 32-bit Dst.

    Scores, probabilities and sums lie in L1 as float32, of which the matrix unit reads tf32;
    maxima, corrections and the running output lie there as bfloat16 (formats of the program that
    TTNN builds: cb_qk_im and cb_sum are Float32, cb_max, cb_exp_max_diff and cb_out_im Float16_b).
    """
    if sink is not None:
        raise ValueError("attention with a sink is not followed with a 32-bit Dst; leave out one")
    rows, length = query.shape[2], key.shape[1]
    scores_of = _Scores(query, key, config, "float32")
    score_exp = attention_score_exp
    if not config.program.exp_approximate:
        score_exp = attention_score_exp_accurate

    def multiply(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return eltwise_unit.multiply(
            first, second, fidelity=config.compute.fidelity, fp32_dest_acc=True
        )

    largest = torch.empty(*query.shape[:3], 1)
    total = torch.empty(*query.shape[:3], TILE)
    output = torch.empty(*query.shape[:3], value.shape[-1])
    for first, end, row in _chunks(rows, length, visible, config):
        scores = unpack(scores_of(first, end, row), fp32_dest_acc=True)
        if visible.mask is None:
            scores = _hide(scores, first, end, row, visible)
        else:
            mask = visible.mask[:, :, row:, first:end]
            scores = unpack(eltwise_unit.add(scores, mask, fp32_dest_acc=True), fp32_dest_acc=True)
        # The reduction moves its Dst through SrcB, which cuts it to bfloat16 (llk_math_reduce.h).
        new = unpack(row_max(scores), fp32_dest_acc=False)
        if first:
            old = largest[:, :, row:]
            new = larger(old, new)
        difference = eltwise_unit.subtract(scores, new, fp32_dest_acc=True)
        probabilities = score_exp(difference, scale, fp32_dest_acc=True)
        chunk_total = _sum_of_tiles(probabilities, float32=True)
        chunk_output = product(probabilities, value[:, first:end], config, "bfloat16")
        if first:
            factor = pack_bfloat16(correction(old, new, scale, config), fp32_dest_acc=True)
            rescaled = multiply(unpack(total[:, :, row:], fp32_dest_acc=True), factor)
            chunk_total = eltwise_unit.add(
                unpack(chunk_total, fp32_dest_acc=True),
                unpack(rescaled, fp32_dest_acc=True),
                fp32_dest_acc=True,
            )
            rescaled = pack_bfloat16(multiply(output[:, :, row:], factor), fp32_dest_acc=True)
            chunk_output = add_in_l1(chunk_output, rescaled, float32=False)
        largest[:, :, row:] = new
        total[:, :, row:] = chunk_total
        output[:, :, row:] = chunk_output
    denominator = row_sum(total, config.compute)
    denominator = unpack(denominator, fp32_dest_acc=True)
    inverse = attention_reciprocal(
        denominator, approximate=config.compute.approximate, fp32_dest_acc=True
    )
    return multiply(output, unpack(inverse, fp32_dest_acc=True))
