"""Scaled dot product attention of one query over a cache, step by step.

B users, N heads, K kv heads, G = N / K heads that share one, C cache length, D head_dim. Tensors
are float32 or bfloat16 and hold bfloat16 values; results are float32, rounded as the packer rounds
them. Several cores share one kv head: each goes through its chunks of the cache with a running
maximum, sum and output, and a binary tree of cores merges them. Every step's result is packed as
bfloat16. Kernel sources: sdpa_flash_decode.cpp, rt_args_common.hpp, tree_reduction.hpp,
compute_common.hpp, sdpa_decode_program_factory.cpp.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch

from ttnn_emulator.arithmetic.compute import AttentionProgram, CacheScores, default_scale
from ttnn_emulator.arithmetic.exact.attention_steps import (
    AttentionConfig,
    correction,
    larger,
    product,
)
from ttnn_emulator.arithmetic.exact.matrix import eltwise_unit
from ttnn_emulator.arithmetic.exact.matrix.matrix_unit import row_max, row_sum
from ttnn_emulator.arithmetic.exact.packer import pack, pack_bfloat16
from ttnn_emulator.arithmetic.exact.vector.vector_exponential import (
    attention_merge,
    attention_score_exp,
    attention_score_exp_accurate,
)
from ttnn_emulator.arithmetic.exact.vector.vector_roots import attention_reciprocal

LARGEST_CHUNK = 512
HALF_TILE_HEADS = 16  # with at most this many, causal attention uses tiles of 16 rows


def default_chunk(length: int) -> int:
    """The k_chunk without a program config: a power of two, at most 512, that divides the cache."""
    return min(LARGEST_CHUNK, length & -length)


def cores_per_head(cores: int, users: int, kv_heads: int, limit: int | None = None) -> int:
    """Cores that share one kv head of one user.

    Args:
        cores: of the device, or of the program config's grid.
        limit: the program config's max_cores_per_head_batch; None without a program config.

    >>> cores_per_head(64, 1, 32), cores_per_head(72, 1, 8), cores_per_head(64, 32, 8)
    (2, 9, 1)
    """
    if limit is not None:
        cores = min(cores, limit * users * kv_heads)
    return max(1, cores // users // kv_heads)


def attention_decode(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    scores: CacheScores,
    cores: int = 1,
    config: AttentionConfig | None = None,
    out: str = "bfloat16",
) -> torch.Tensor:
    """softmax(query @ key^T * scale + mask) @ value, one query for each user.

    Args:
        query: [B, N, D].
        key, value: [B, K, C, D] and [B, K, C, Dv]. The chunk of a user's position is read whole.
        scores: how scores are made of products; no window, and a mask only without positions.
        cores: how many share a kv head, see `cores_per_head`.
        config: how the kernel is built; its q_chunk is ignored. None is TTNN's default.
        out: format of the result, as `packer.pack` names it.

    Returns:
        [B, N, Dv] float32.

    Raises:
        ValueError: for a position outside the cache.
    """
    users, heads, width = query.shape
    kv_heads, length = key.shape[1:3]
    config = config or AttentionConfig(program=AttentionProgram(k_chunk=default_chunk(length)))
    k_chunk = config.program.k_chunk
    scale = default_scale(width) if scores.scale is None else scores.scale
    scale = torch.tensor(scale, dtype=torch.float32).item()
    mask, sink = scores.mask, scores.sink
    causal = scores.positions is not None
    positions = torch.as_tensor(scores.positions if causal else [length - 1] * users)
    if ((positions < 0) | (positions >= length)).any():
        raise ValueError(f"positions {positions.tolist()} must lie in the cache, 0 to {length - 1}")
    query = query.reshape(users, kv_heads, heads // kv_heads, width)
    if mask is not None:
        mask = mask.float().expand(users, heads, length).unflatten(1, (kv_heads, -1))
    if sink is not None:
        sink = sink.float().reshape(kv_heads, -1, 1)
    accurate = not config.program.exp_approximate and not (causal and heads <= HALF_TILE_HEADS)
    output = torch.empty(*query.shape[:3], value.shape[-1])
    chunks = positions // k_chunk + 1
    for count in chunks.unique().tolist():
        members = torch.nonzero(chunks == count).flatten()
        chosen = slice(None) if len(members) == users else members
        part = _Part(
            query[chosen],
            key[chosen],
            value[chosen],
            positions[chosen] if causal else None,
            None if mask is None else mask[chosen],
            scale,
            config,
            accurate,
        )
        output[chosen] = part.attend(count, cores, sink)
    return pack(output, out, fp32_dest_acc=False).reshape(users, heads, -1)


class _State(NamedTuple):
    """Maximum, sum and output over some chunks: [B, K, G, 1], [B, K, G, 1] and [B, K, G, Dv]."""

    largest: torch.Tensor
    total: torch.Tensor
    output: torch.Tensor


@dataclass(frozen=True)
class _Part:
    """The users of one call whose positions lie in the same chunk of the cache."""

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    positions: torch.Tensor | None
    mask: torch.Tensor | None
    scale: float
    config: AttentionConfig
    accurate: bool

    @property
    def fp32_dest_acc(self) -> bool:
        return self.config.compute.fp32_dest_acc

    def attend(self, chunks: int, cores: int, sink: torch.Tensor | None) -> torch.Tensor:
        """[B, K, G, Dv] float32."""
        states = [
            self._local(range(*_assigned(rank, chunks, cores)), masked=rank == 0)
            for rank in range(min(cores, chunks))
        ]
        state = self._merged(states, 0, cores)
        if sink is not None:
            state = self._with_sink(state, sink)
        inverse = attention_reciprocal(
            state.total,
            approximate=self.config.compute.approximate,
            fp32_dest_acc=self.fp32_dest_acc,
            streaming=False,
        )
        return self._multiply(state.output, self._pack(inverse))

    def _local(self, chunks: range, masked: bool) -> _State:
        """State of one core's chunks, in ascending order; a causal mask goes on its last one."""
        state: _State | None = None
        for chunk in chunks:
            hide = masked and chunk == chunks[-1]
            new = self._chunk(chunk, hide, state.largest if state else None)
            if state is not None:
                factor = self._correction(state.largest, new.largest)
                total = self._add(new.total, self._multiply(state.total, factor))
                output = self._add(self._multiply(state.output, factor), new.output)
                new = _State(new.largest, total, output)
            state = new
        assert state is not None  # a core that takes part has chunks
        return state

    def _chunk(self, chunk: int, hide: bool, largest: torch.Tensor | None) -> _State:
        """State of one chunk; its maximum includes that of the chunks before."""
        k_chunk = self.config.program.k_chunk
        first = chunk * k_chunk
        columns = slice(first, first + k_chunk)
        scores = self._product(self.query, self.key[:, :, columns].transpose(2, 3))
        if self.mask is not None:
            scores = self._add(scores, self.mask[..., columns])
        if hide and self.positions is not None:
            column = torch.arange(first, first + scores.shape[-1])
            hidden = (column > self.positions[:, None])[:, None, None]
            # The matrix unit adds minus infinity; with plus infinity that is 0.
            stamped = torch.where(scores == math.inf, 0.0, -math.inf)
            scores = torch.where(hidden, stamped, scores)
        new = row_max(scores)
        if largest is not None:
            new = larger(largest, new)
        difference = eltwise_unit.subtract(scores, new, fp32_dest_acc=self.fp32_dest_acc)
        score_exp = attention_score_exp_accurate if self.accurate else attention_score_exp
        probabilities = score_exp(difference, self.scale, fp32_dest_acc=self.fp32_dest_acc)
        probabilities = self._pack(probabilities)
        total = row_sum(probabilities, self.config.compute)
        output = self._product(probabilities, self.value[:, :, columns])
        return _State(new, self._pack(total), output)

    def _merged(self, states: list[_State], rank: int, cores: int) -> _State:
        """State of a core after its children in the tree sent theirs."""
        state = states[rank]
        for child in _children(rank, cores):
            if child < len(states):
                state = self._merge(state, self._merged(states, child, cores))
        return state

    def _merge(self, state: _State, child: _State) -> _State:
        factor, child_factor, largest, total = attention_merge(
            state.largest,
            child.largest,
            state.total,
            child.total,
            self.scale,
            fp32_dest_acc=self.fp32_dest_acc,
        )
        output = self._multiply(state.output, self._pack(factor))
        child_output = self._multiply(child.output, self._pack(child_factor))
        output = self._add(output, child_output)
        return _State(self._pack(largest), self._pack(total), output)

    def _with_sink(self, state: _State, sink: torch.Tensor) -> _State:
        """The sink as one more chunk: a score without a value."""
        sink = sink.expand_as(state.largest)
        new = larger(sink, state.largest)
        factor = self._correction(state.largest, new)
        share = self._correction(sink, new)
        total = self._add(self._multiply(state.total, factor), share)
        return _State(new, total, self._multiply(state.output, factor))

    def _correction(self, old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        return self._pack(correction(old, new, self.scale, self.config))

    def _product(self, rows: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        flat = product(rows.flatten(0, 1)[:, None], right.flatten(0, 1), self.config, "bfloat16")
        return flat[:, 0].unflatten(0, rows.shape[:2])

    def _multiply(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return self._pack(
            eltwise_unit.multiply(
                first,
                second,
                fidelity=self.config.compute.fidelity,
                fp32_dest_acc=self.fp32_dest_acc,
            )
        )

    def _add(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return self._pack(eltwise_unit.add(first, second, fp32_dest_acc=self.fp32_dest_acc))

    def _pack(self, dst: torch.Tensor) -> torch.Tensor:
        return pack_bfloat16(dst, self.fp32_dest_acc)


def _assigned(rank: int, chunks: int, cores: int) -> tuple[int, int]:
    """First and end chunk of a core; the first core has the last chunks (rt_args_common.hpp)."""
    if cores > chunks:
        return chunks - rank - 1, chunks - rank
    quotient, remainder = divmod(chunks, cores)
    before = cores - rank - 1
    first = before * quotient + min(remainder, before)
    return first, first + quotient + (before < remainder)


def _children(rank: int, cores: int) -> list[int]:
    """Cores whose states a core merges into its own, in this order (tree_reduction.hpp).

    Places in the tree count down from the last core. In round r a place that ends in r + 1 ones
    receives from the one 2^r before it; a place whose receiver does not exist sends to core 0.
    """
    place = cores - 1 - rank
    rounds = (cores - 1).bit_length()
    children = {}
    for r in range(rounds):
        ones = (2 << r) - 1
        if place & ones == ones:
            children[r] = cores - 1 - (place - (1 << r))
    if rank == 0:
        for core in range(1, cores):
            sender = cores - 1 - core
            r = (~sender & (sender + 1)).bit_length() - 1
            if sender + (1 << r) >= cores:
                children.setdefault(r, core)
    return [children[r] for r in sorted(children)]
