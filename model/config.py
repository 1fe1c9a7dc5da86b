"""The Phi-3 hyperparameters this bring-up uses, read from a Hugging Face configuration."""

import math
from dataclasses import dataclass, replace
from typing import Any

from transformers import PretrainedConfig

TILE = 32  # rows and columns of a TTNN tile


@dataclass(frozen=True)
class RopeConfig:
    """Rotary embedding: `short_factor` and `long_factor` are None for plain RoPE."""

    theta: float
    max_position: int
    original_max_position: int
    short_factor: tuple[float, ...] | None = None
    long_factor: tuple[float, ...] | None = None
    factor: float | None = None
    attention_factor: float | None = None

    @property
    def scaling(self) -> float:
        """LongRoPE's factor on cos and sin (arXiv 2402.13753, section 3), 1.0 for plain RoPE."""
        if self.short_factor is None:
            return 1.0
        if self.attention_factor is not None:
            return self.attention_factor
        factor = self.factor or self.max_position / self.original_max_position
        if factor <= 1:
            return 1.0
        return math.sqrt(1 + math.log(factor) / math.log(self.original_max_position))


@dataclass(frozen=True)
class ModelConfig:
    """Sizes and constants of a Phi-3, by the names of Hugging Face or shorter ones."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    norm_eps: float
    tie_word_embeddings: bool
    sliding_window: int | None
    rope: RopeConfig

    @classmethod
    def from_hf(cls, hf: PretrainedConfig) -> "ModelConfig":
        """Read a Phi3Config of transformers 4 (rope_theta, rope_scaling) or 5 (rope_parameters).

        Raises ValueError, with the value and what would be right, for a model that is not Phi-3
        or that uses something this bring-up does not compute.
        """
        if hf.model_type != "phi3":
            raise ValueError(
                f"The checkpoint's model_type is {hf.model_type!r}; this model needs 'phi3'."
            )
        if hf.hidden_act != "silu":
            raise ValueError(f"The activation is {hf.hidden_act!r}; Phi-3 here needs 'silu'.")
        n_heads = hf.num_attention_heads
        n_kv_heads = getattr(hf, "num_key_value_heads", None) or n_heads
        head_dim = getattr(hf, "head_dim", None) or hf.hidden_size // n_heads
        if n_heads % n_kv_heads:
            raise ValueError(
                f"{n_heads} attention heads cannot share {n_kv_heads} key/value heads; "
                "num_attention_heads must be a multiple of num_key_value_heads."
            )
        for name, value in (
            ("head_dim", head_dim),
            ("hidden_size", hf.hidden_size),
            ("intermediate_size", hf.intermediate_size),
        ):
            if value % TILE:
                raise ValueError(f"{name} is {value}; it must be a multiple of the tile, {TILE}.")
        return cls(
            vocab_size=hf.vocab_size,
            hidden_size=hf.hidden_size,
            intermediate_size=hf.intermediate_size,
            n_layers=hf.num_hidden_layers,
            n_heads=n_heads,
            n_kv_heads=n_kv_heads,
            head_dim=head_dim,
            norm_eps=hf.rms_norm_eps,
            tie_word_embeddings=hf.tie_word_embeddings,
            sliding_window=getattr(hf, "sliding_window", None),
            rope=_rope_from_hf(hf, head_dim),
        )

    def share(self, chips: int) -> "ModelConfig":
        """What each of several chips computes: its heads, MLP columns and part of the vocabulary.

        Parts are equal: of whole tiles, and of queries with their keys. What is missing to that is
        zeros, which add nothing to a sum, or columns of logits that nobody reads.
        """
        if chips == 1:
            return self
        kv_heads = -(-self.n_kv_heads // chips)
        columns = chips * TILE
        return replace(
            self,
            n_heads=kv_heads * (self.n_heads // self.n_kv_heads),
            n_kv_heads=kv_heads,
            intermediate_size=-(-self.intermediate_size // columns) * TILE,
            vocab_size=-(-self.vocab_size // columns) * TILE,
        )

    def check_length(self, max_seq_len: int) -> None:
        """Raises ValueError for a number of positions that no sequence may have."""
        if max_seq_len < 1:
            raise ValueError(f"max_seq_len is {max_seq_len}; it must be at least 1.")
        window = self.sliding_window
        if window is not None and window < max_seq_len:
            raise ValueError(
                f"The sliding window is {window}; this model attends to all positions, so "
                f"max_seq_len may be at most {window}, not {max_seq_len}."
            )


def _rope_from_hf(hf: PretrainedConfig, head_dim: int) -> RopeConfig:
    # transformers 5 keeps everything in rope_parameters; 4 spreads it over the configuration.
    rope = getattr(hf, "rope_parameters", None) or getattr(hf, "rope_scaling", None) or {}

    def value(name: str, default: Any = None) -> Any:  # a number, of any JSON type
        own = rope.get(name)
        return getattr(hf, name, default) if own is None else own

    partial = value("partial_rotary_factor", 1.0)
    if partial != 1.0:
        raise ValueError(
            f"partial_rotary_factor is {partial}; this model rotates whole heads: 1.0."
        )
    max_position = hf.max_position_embeddings
    original = value("original_max_position_embeddings") or max_position
    theta = value("rope_theta", 10000.0)
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind == "default":
        return RopeConfig(theta, max_position, original)
    if kind not in ("longrope", "su"):  # Phi-3's first releases called LongRoPE "su"
        raise ValueError(f"The rope type is {kind!r}; this model knows 'longrope' or none.")
    factors = {}
    for name in ("short_factor", "long_factor"):
        numbers = rope.get(name)
        if numbers is None or len(numbers) != head_dim // 2:
            length = "missing" if numbers is None else f"{len(numbers)} numbers long"
            raise ValueError(
                f"The rope {name} is {length}; for head_dim {head_dim} it needs {head_dim // 2}."
            )
        factors[name] = tuple(float(n) for n in numbers)
    return RopeConfig(
        theta,
        max_position,
        original,
        factor=rope.get("factor"),
        attention_factor=rope.get("attention_factor"),
        **factors,
    )
