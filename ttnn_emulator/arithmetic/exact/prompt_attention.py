"""Scaled dot product attention over a prompt, step by step.

B batch, N heads, K kv heads, G = N / K heads that share one, S queries, T keys, D head_dim.
Tensors are float32 or bfloat16 and hold bfloat16 values; results are float32, rounded as the packer
rounds them. Kernel sources: sdpa.cpp, compute_streaming.hpp (16-bit Dst), compute_common.hpp
(32-bit Dst). Chunks of queries (q_chunk) are independent of each other; each goes through the keys
in chunks (k_chunk) with a running maximum, a running sum and a running output.
"""

from collections.abc import Iterator

import torch

from ttnn_emulator.arithmetic.compute import CAUSAL, PromptScores, default_scale
from ttnn_emulator.arithmetic.exact.attention_steps import (
    AttentionConfig,
    correction,
    larger,
    product,
)
from ttnn_emulator.arithmetic.exact.attention_visible import Part, Visible
from ttnn_emulator.arithmetic.exact.matrix import eltwise_unit
from ttnn_emulator.arithmetic.exact.matrix.matrix_unit import LANES, row_max, row_sum, unpack
from ttnn_emulator.arithmetic.exact.packer import add_in_l1, pack, pack_bfloat16
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
    sink = scores.sink
    if sink is not None:
        sink = sink.float().expand(batch, heads)[..., None, None]
        sink = _by_kv_head(sink, kv_heads)
    visible = Visible(
        scores=scores,
        scale=scale,
        keys=length,
        batch=batch,
        kv_heads=kv_heads,
        q_chunk=config.program.q_chunk,
        k_chunk=config.program.k_chunk,
        streaming=not fp32_dest_acc,
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


class _Scores:
    """query @ key^T a few columns at a time, so that the matrix unit's lanes are full."""

    def __init__(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        visible: Visible,
        config: AttentionConfig,
        out: str,
    ) -> None:
        self.query, self.key, self.config, self.out = query, key, config, out
        self.visible = visible
        self.first = self.end = self.row = 0

    def __call__(self, part: Part) -> torch.Tensor:
        """[B*K, G, rows, keys] of one part."""
        if part.end > self.end:
            columns = max(LANES, self.config.program.k_chunk)
            self.first = part.first
            self.end = min(part.first + columns, self.key.shape[1])
            self.row, stop = self.visible.rows_of(self.first, self.end, self.query.shape[2])
            self.block = product(
                self.query[:, :, self.row : stop],
                self.key[:, self.first : self.end].transpose(1, 2),
                self.config,
                self.out,
            )
        rows = slice(part.row - self.row, part.stop - self.row)
        return self.block[:, :, rows, part.first - self.first : part.end - self.first]


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
    fidelity = config.compute.fidelity
    scores_of = _Scores(query, key, visible, config, "bfloat16")
    largest = torch.empty(*query.shape[:3], 1)
    total = torch.empty(*query.shape[:3], TILE)
    output = torch.empty(*query.shape[:3], value.shape[-1])
    for part in visible.parts(query.shape[2]):
        scores, rows = scores_of(part), slice(part.row, part.stop)
        mask = visible.mask(part)
        if mask is None:
            scores = visible.hide(scores, part)
        else:
            scores = add_in_l1(scores, mask, float32=False)
        new = row_max(scores)
        if not part.fresh:
            old = largest[:, :, rows]
            new = larger(old, new)
        # Always the approximate exponential, whatever exp_approx_mode says.
        difference = eltwise_unit.subtract(scores, new)
        probabilities = attention_score_exp(difference, scale)
        chunk_total = _sum_of_tiles(probabilities, float32=False)
        chunk_output = _weighted_values(
            probabilities, value[:, part.first : part.end], part, visible, config
        )
        if not part.fresh:
            factor = correction(old, new, scale, config)
            rescaled = eltwise_unit.multiply(total[:, :, rows], factor, fidelity=fidelity)
            chunk_total = add_in_l1(chunk_total, rescaled, float32=False)
            rescaled = eltwise_unit.multiply(output[:, :, rows], factor, fidelity=fidelity)
            chunk_output = add_in_l1(chunk_output, rescaled, float32=False)
        largest[:, :, rows] = new
        total[:, :, rows] = chunk_total
        output[:, :, rows] = chunk_output
    denominator = row_sum(total, config.compute)
    if sink is not None:
        share = correction(largest, sink, -scale, config)
        denominator = store(add_lanes(denominator, share), fp32_dest_acc=False)
    inverse = attention_reciprocal(
        denominator, approximate=config.compute.approximate, streaming=True
    )
    return eltwise_unit.multiply(output, inverse, fidelity=fidelity)


def _weighted_values(probabilities, value, part, visible, config):
    """probabilities @ value of one chunk of keys.

    The rows of a chunk of queries that the kernel computes first take the keys in pieces, as their
    exponentials become ready, and sum the pieces in L1. The other rows take all keys at once.
    """
    width = _subblock(config.program.q_chunk // TILE, config.program.k_chunk // TILE)[1] * TILE
    rows = torch.arange(part.row, part.stop)
    pieces = []
    if width < config.program.k_chunk:
        pieces = list(_pieces(rows, part, width, value.shape[-1], visible, config))
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
    part: Part,
    width: int,
    value_width: int,
    visible: Visible,
    config: AttentionConfig,
) -> Iterator[tuple[int, int, torch.Tensor]]:
    """(columns of a piece, columns of all pieces, row indices) for the rows computed first.

    In its last chunk of keys, with the diagonal or the end of a window, a chunk of queries takes
    only the keys up to there, in the widest pieces that divide them (largest_factor_le). The last
    chunk of all keys without a mask is cut likewise.
    """
    q_chunk, k_chunk = config.program.q_chunk, config.program.k_chunk
    available = part.end - part.first
    early = rows % q_chunk < _first_rows(q_chunk, value_width)
    active = torch.full_like(rows, k_chunk if visible.masked else available)
    last_seen = visible.last_seen(rows)
    if last_seen is not None:
        active = (last_seen - part.first).clamp(max=k_chunk if visible.causal else available)
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
    scores_of = _Scores(query, key, visible, config, "float32")
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
    for part in visible.parts(query.shape[2]):
        rows = slice(part.row, part.stop)
        scores = unpack(scores_of(part), fp32_dest_acc=True)
        mask = visible.mask(part)
        if mask is None:
            scores = visible.hide(scores, part)
        else:
            scores = unpack(eltwise_unit.add(scores, mask, fp32_dest_acc=True), fp32_dest_acc=True)
        # The reduction moves its Dst through SrcB, which cuts it to bfloat16 (llk_math_reduce.h).
        new = unpack(row_max(scores), fp32_dest_acc=False)
        if not part.fresh:
            old = largest[:, :, rows]
            new = larger(old, new)
        difference = eltwise_unit.subtract(scores, new, fp32_dest_acc=True)
        probabilities = score_exp(difference, scale, fp32_dest_acc=True)
        chunk_total = _sum_of_tiles(probabilities, float32=True)
        chunk_output = product(probabilities, value[:, part.first : part.end], config, "bfloat16")
        if not part.fresh:
            factor = pack_bfloat16(correction(old, new, scale, config), fp32_dest_acc=True)
            rescaled = multiply(unpack(total[:, :, rows], fp32_dest_acc=True), factor)
            chunk_total = eltwise_unit.add(
                unpack(chunk_total, fp32_dest_acc=True),
                unpack(rescaled, fp32_dest_acc=True),
                fp32_dest_acc=True,
            )
            rescaled = pack_bfloat16(multiply(output[:, :, rows], factor), fp32_dest_acc=True)
            chunk_output = add_in_l1(chunk_output, rescaled, float32=False)
        largest[:, :, rows] = new
        total[:, :, rows] = chunk_total
        output[:, :, rows] = chunk_output
    denominator = row_sum(total, config.compute)
    denominator = unpack(denominator, fp32_dest_acc=True)
    inverse = attention_reciprocal(
        denominator, approximate=config.compute.approximate, fp32_dest_acc=True
    )
    return multiply(output, unpack(inverse, fp32_dest_acc=True))
