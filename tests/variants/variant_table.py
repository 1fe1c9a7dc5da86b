"""The variants: what each is built from, what it is run on, and where its twins go wrong."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import torch
import transformers

from model import optimized
from tests.bringups import bringup_table
from tests.bringups.bringup_table import SMALL

from . import architectures as others
from . import attending
from . import caches_and_batches as caches
from . import heads_and_rotation as heads
from . import norms_and_formats as norms
from .plain_decoder import Decoder

PROMPT, DECODED = 33, 3  # one row more than a tile
CAPACITY = 96  # positions that the models are built for
SWITCH = 40  # the longest sequence with LongRoPE's short factors


@dataclasses.dataclass(frozen=True)
class Twin:
    """A faulty one.

    Attributes:
        build: as that of the variant.
        layer, part: where drift must find it.
        operations: short names; one of them must be named.
    """

    build: Callable[..., Any]
    layer: int | None
    part: str
    operations: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.build.__name__


@dataclasses.dataclass(frozen=True)
class Variant:
    """A way of writing the model.

    Attributes:
        build: called as `build_model` is.
        config: makes Hugging Face's configuration.
        prompt: tokens of the prompt; `DECODED` follow.
        block_formats: what these add to the error of Hugging Face's pass in bfloat16.
        twins: with a fault that is natural in this way of writing.
        also: what is particular about the row beside `build`.
    """

    build: Callable[..., Any]
    config: Callable[[], transformers.PretrainedConfig]
    prompt: int = PROMPT
    block_formats: float = 0.0
    twins: tuple[Twin, ...] = ()
    also: str = ""

    @property
    def name(self) -> str:
        return self.build.__name__ + (f"-{self.also}" if self.also else "")

    def ids(self, seed: int = 0) -> torch.Tensor:
        """[1, S]: the prompt and the tokens after it, none of which means something special."""
        generator = torch.Generator().manual_seed(self.prompt + 1000 * seed)
        return torch.randint(3, 128, (1, self.prompt + DECODED), generator=generator)


def llama(**other: Any) -> transformers.PretrainedConfig:
    return transformers.LlamaConfig(**SMALL | other, head_dim=32, vocab_size=128)


def large() -> transformers.PretrainedConfig:
    """Weights so large that a pass in bfloat16 errs much."""
    return llama(initializer_range=0.4)


def tied() -> transformers.PretrainedConfig:
    return llama(tie_word_embeddings=True)


def phi3(**other: Any) -> transformers.PretrainedConfig:
    return transformers.Phi3Config(
        **SMALL | {"hidden_size": 128, "max_position_embeddings": 256} | other, vocab_size=128
    )


def longrope() -> transformers.PretrainedConfig:
    return phi3(
        original_max_position_embeddings=SWITCH,
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "short_factor": [1.0 + 0.02 * i for i in range(16)],
            "long_factor": [1.0 + 0.5 * i for i in range(16)],
            "original_max_position_embeddings": SWITCH,
            "factor": 6.4,
            "attention_factor": 1.2,
        },
    )


SIZES = SMALL | {"vocab_size": 128}


def mistral() -> transformers.PretrainedConfig:
    return transformers.MistralConfig(**SIZES, head_dim=32, sliding_window=8)


def arcee() -> transformers.PretrainedConfig:
    return transformers.ArceeConfig(**SIZES, head_dim=32)


def starcoder2() -> transformers.PretrainedConfig:
    sizes = SIZES | {"hidden_size": 128}
    config = transformers.Starcoder2Config(**sizes, norm_epsilon=1e-5, hidden_act="gelu")
    config.rms_norm_eps = config.norm_epsilon
    return config


def granite() -> transformers.PretrainedConfig:
    return transformers.GraniteConfig(
        **SIZES | {"hidden_size": 128},
        embedding_multiplier=12.0,
        residual_multiplier=0.22,
        attention_multiplier=0.125,
        logits_scaling=8.0,
    )


def gemma2() -> transformers.PretrainedConfig:
    return transformers.Gemma2Config(
        **SIZES, head_dim=32, query_pre_attn_scalar=24, sliding_window=8
    )


def olmo2() -> transformers.PretrainedConfig:
    return transformers.Olmo2Config(**SIZES | {"hidden_size": 128})


@functools.cache
def reference(config: Callable[[], transformers.PretrainedConfig], seed: int = 0) -> Any:
    """Hugging Face's model, as `bringup_table.hf_model` makes it."""
    return bringup_table.hf_model(bringup_table.Bringup("", "", config), seed)


def accuracy(hf_model: Any, device: Any, max_seq_len: int) -> Any:
    """This repository's optimized stage."""
    return optimized.build_model(hf_model, device, max_seq_len)


def performance(hf_model: Any, device: Any, max_seq_len: int) -> Any:
    """The same, with weights and cache in bfloat8_b."""
    return optimized.build_model(hf_model, device, max_seq_len, precision="performance")


# Operations by which parts of the decoder are written, by the ends of their names.
TURNED = ("neg", "concat", "multiply", "add", "matmul")
KERNEL = ("scaled_dot_product_attention", "scaled_dot_product_attention_decode")
SCORED = ("repeat", "multiply", "matmul", "add", "softmax")
NORMED = ("square", "mean", "sum", "add", "rsqrt", "multiply", "rms_norm")
WRITTEN = ("fill_cache", "update_cache")
HEADS = ("reshape", "transpose", "split_heads", "nlp_create_qkv_heads")


def in_layer(build: Callable[..., Any], part: str, *operations: str, layer: int = 0) -> Twin:
    return Twin(build, layer, part, operations)


def in_head(build: Callable[..., Any], *operations: str) -> Twin:
    return Twin(build, None, "head", operations)


def attends(build: Callable[..., Any], *operations: str) -> Twin:
    return in_layer(build, "attention", *operations)


ROWS = [
    Variant(Decoder, llama),
    Variant(
        caches.Uncached,
        llama,
        twins=(attends(caches.FirstTokenLost, "embedding", "rotary_embedding_hf"),),
    ),
    Variant(caches.UncachedInTiles, llama, twins=(in_head(caches.LastRowOfTheTile, "to_torch"),)),
    Variant(
        caches.FilledCache,
        llama,
        twins=(
            attends(
                caches.WrittenOneEarly,
                "update_cache",
            ),
            attends(caches.PaddingAttended, "update_cache", *KERNEL),
        ),
    ),
    Variant(caches.PaddedWithAnotherToken, llama),
    Variant(
        caches.MaskedCache,
        llama,
        twins=(
            attends(caches.NextKeySeen, *KERNEL),
            attends(caches.OwnKeyHiddenInDecode, *KERNEL),
        ),
    ),
    Variant(
        caches.InChunks,
        llama,
        twins=(
            attends(caches.PositionsOfTheChunk, "rotary_embedding_hf"),
            attends(caches.ChunksApart, *KERNEL),
        ),
    ),
    Variant(caches.InChunks, llama, prompt=70, also="70"),
    Variant(
        caches.ForEight,
        llama,
        twins=(
            attends(
                caches.OthersPast,
                "slice",
                "concat",
                *KERNEL,
            ),
        ),
    ),
    Variant(caches.ForTwo, llama, twins=(in_head(caches.LastRowReturned, "to_torch"),)),
    Variant(caches.IdleRowsAreNan, llama),
    Variant(
        caches.PaddedLeft,
        llama,
        twins=(
            attends(caches.PaddingCountedInDecode, *TURNED),
            attends(caches.PaddingSeen, *KERNEL),
        ),
    ),
    Variant(caches.PaddingCounted, llama),
    Variant(
        caches.ByLength,
        longrope,
        prompt=70,
        twins=(attends(caches.AlwaysLong, "rotary_embedding_hf"),),
    ),
    Variant(
        caches.ByLength,
        longrope,
        prompt=SWITCH - 2,
        also="across",
        twins=(attends(caches.LongTooLate, "rotary_embedding_hf"),),
    ),
    Variant(accuracy, longrope, prompt=70, also="70"),
    Variant(accuracy, longrope, prompt=SWITCH - 2, also="across"),
    Variant(performance, phi3, block_formats=0.05),
    # heads and attention
    Variant(
        heads.KeysFirst,
        llama,
        twins=(attends(heads.KeysAndValuesExchanged, "linear", "rotary_embedding_hf", *KERNEL),),
    ),
    Variant(
        heads.Fused,
        llama,
        twins=(attends(heads.FusedInAnotherOrder, "rotary_embedding_hf", *HEADS),),
    ),
    Variant(heads.FusedAndSplit, llama),
    Variant(
        heads.QueriesApart,
        llama,
        twins=(attends(heads.ValuesBeforeKeys, "rotary_embedding_hf", *HEADS),),
    ),
    Variant(
        heads.HeadsByColumns,
        llama,
        twins=(
            attends(
                heads.HeadsUntransposed,
                *HEADS,
            ),
        ),
    ),
    Variant(
        heads.RotatedBySlices,
        llama,
        twins=(
            attends(heads.TurnedBack, *TURNED),
            attends(heads.HalvesNotExchanged, *TURNED),
        ),
    ),
    Variant(heads.RotatedByMatrix, llama, twins=(attends(heads.MatrixTransposed, *TURNED),)),
    Variant(
        heads.RotatedInPairs,
        llama,
        twins=(attends(heads.WeightsNotInPairs, "rotary_embedding_llama"),),
    ),
    Variant(
        heads.RotatedInTiles,
        llama,
        twins=(
            attends(
                heads.TokenRotatedOneLate,
                "rotary_embedding",
            ),
        ),
    ),
    Variant(
        attending.AttentionByHand,
        llama,
        twins=(
            attends(attending.WidthForScale, "a call of kind attention", *SCORED),
            attends(attending.HeadsRepeatedInTurn, "a call of kind attention", *SCORED),
        ),
    ),
    Variant(
        attending.ScoresScaled,
        llama,
        twins=(
            attends(attending.ScaleOfAnotherWidth, *SCORED),
            attends(attending.NextKeyShown, "where", "ltz", "softmax"),
            attends(
                attending.SoftmaxOverQueries,
                "softmax",
            ),
        ),
    ),
    Variant(attending.Grouped, llama),
    Variant(attending.MaskGiven, llama, twins=(attends(attending.MaskOffByOne, *KERNEL),)),
    Variant(
        attending.RepeatedForAttention,
        llama,
        twins=(attends(attending.RepeatedInTurn, "repeat", *KERNEL),),
    ),
    Variant(
        attending.QueriesScaled, llama, twins=(attends(attending.ScaledTwice, "multiply", *KERNEL),)
    ),
    Variant(attending.PromptInTiles, llama),
    # norms, MLP, residual stream
    Variant(norms.NormWithBias, llama, twins=(attends(norms.BiasOfNorms, "rms_norm"),)),
    Variant(
        norms.NormByHand,
        llama,
        twins=(attends(norms.AnotherEpsilon, *NORMED), attends(norms.SumForMean, *NORMED)),
    ),
    Variant(norms.UpFirst, llama, twins=(in_layer(norms.UpActivated, "MLP", "multiply"),)),
    Variant(
        norms.ScaledMlp, llama, twins=(in_layer(norms.ScaledBackTooLittle, "MLP", "multiply"),)
    ),
    Variant(norms.ScaledByAnyNumber, llama),
    Variant(
        norms.SiluByHand, llama, twins=(in_layer(norms.SigmoidAlone, "MLP", "sigmoid", "multiply"),)
    ),
    Variant(
        norms.FusedGateUp,
        llama,
        twins=(in_layer(norms.UpInFront, "MLP", "silu"),),
    ),
    Variant(norms.ResidualSecond, llama, twins=(in_layer(norms.ResidualOfTheNorm, "MLP", "add"),)),
    Variant(norms.WideResidual, llama, twins=(in_layer(norms.AttentionNotKept, "MLP", "add"),)),
    # formats and placement
    Variant(
        norms.EightBits,
        llama,
        block_formats=0.03,
        twins=(in_layer(norms.FirstLayersOutput, "attention", "linear", layer=1),),
    ),
    Variant(
        norms.FourBitMlp,
        llama,
        block_formats=0.3,
        twins=(in_layer(norms.GateForUp, "MLP", "a call of kind product", layer=1),),
    ),
    Variant(
        norms.Sharded,
        llama,
        twins=(
            attends(
                norms.NormOfTheOtherPart,
                "rms_norm",
            ),
        ),
    ),
    # logits
    Variant(norms.LastLogits, llama, twins=(in_head(norms.LogitsOneBefore, "to_torch", "slice"),)),
    Variant(norms.LogitsOfTheTile, llama),
    Variant(
        norms.Bfloat16Logits, llama, twins=(in_head(norms.NoFinalNorm, "a call of kind norm"),)
    ),
    Variant(
        norms.Tied,
        tied,
        twins=(
            in_head(
                norms.TiedToAnother,
                "linear",
            ),
        ),
    ),
    Variant(
        norms.LogitsInParts,
        llama,
    ),
    # other architectures
    Variant(others.Windowed, mistral, twins=(attends(others.WindowOneLarger, *KERNEL),)),
    Variant(
        others.Ungated,
        arcee,
        twins=(
            in_layer(others.ReluNotSquared, "MLP", "relu", "linear", "a call of kind activation"),
        ),
    ),
    Variant(
        others.Multiplied,
        granite,
        twins=(
            attends(others.UsualScale, *KERNEL),
            attends(others.ResidualOfAnother, "multiply", "add"),
        ),
    ),
    Variant(
        others.Capped,
        gemma2,
        twins=(
            in_layer(others.WindowsEverywhere, "attention", *SCORED, layer=1),
            in_layer(others.NormsWithoutOne, "MLP", "rms_norm"),
        ),
    ),
    Variant(
        others.NormsBehind,
        olmo2,
        twins=(attends(others.NormsInFront, "rms_norm", "a call of kind norm", "linear", "add"),),
    ),
    Variant(
        others.LayerNorms,
        starcoder2,
        twins=(attends(others.NormsWithoutBias, "layer_norm"),),
    ),
    # weights
    Variant(Decoder, large, also="large"),
    Variant(
        attending.AttentionByHand,
        large,
        also="large",
    ),
    Variant(caches.FilledCache, large, also="large"),
]


# (variant, its twin)
TWINS = [(row, twin) for row in ROWS for twin in row.twins]
