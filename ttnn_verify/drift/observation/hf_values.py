"""The intermediate values of a Hugging Face Phi-3, and how each is computed from earlier ones.

S sequence, H hidden, N heads, K kv heads, D head_dim, I intermediate, V vocabulary. Values have a
row per position, `[S, W]`, or `[S, heads, D]` where a step works on heads.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from transformers.models.phi3 import modeling_phi3

from ttnn_verify.huggingface.golden import Golden


class HeadCounts(NamedTuple):
    """Heads in a product of queries, keys and values: those rotated, all of them, their width."""

    rotated: int
    all: int
    width: int


@dataclasses.dataclass(frozen=True)
class HfValue:
    """An intermediate value of Hugging Face's model, and the step that computes it.

    Attributes:
        name: as `ttnn_verify.huggingface.submodules.shapes` has it; "layers.2.q", say.
        kind: of the operation that computes it: "embedding", "norm", "product", "heads", "rope",
            "attention", "add", "multiply".
        inputs: names of the values it is computed from.
        shape: (W,) or (heads, D) of a row.
        compute: `compute(*inputs)` is the value at all positions; None for a table look-up.
        layer: number, None outside of the layers.
        part: "embedding", "attention", "MLP" or "head".
        heads: of a product that has them all.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    compute: Callable[..., torch.Tensor] | None
    layer: int | None
    part: str
    heads: HeadCounts | None = None

    @property
    def short(self) -> str:
        """The name within its layer."""
        return self.name.rpartition(".")[2]


@dataclasses.dataclass(frozen=True)
class SequenceValues:
    """Hugging Face's values of one sequence of tokens.

    Attributes:
        golden: name -> Hugging Face's own values, float32.
        bf16: the same rounded to bfloat16, the inputs of an isolated step on the device.
        isolated: name -> what Hugging Face's step computes from `bf16`, float32.
    """

    tokens: torch.Tensor  # [1, S]
    golden: dict[str, torch.Tensor]
    bf16: dict[str, torch.Tensor]
    isolated: dict[str, torch.Tensor]


def steps(hf_model: Any) -> list[HfValue]:
    """The values of a pass, in the order in which Hugging Face computes them.

    Args:
        hf_model: a transformers Phi3ForCausalLM.
    """
    config, body = hf_model.config, hf_model.model
    hidden, size = config.hidden_size, config.vocab_size
    result = [HfValue("embedding", "embedding", (), (hidden,), None, None, "embedding")]
    for number, layer in enumerate(body.layers):
        result += _layer_steps(layer, number, result[-1].name, config)
    last = result[-1].name
    result.append(HfValue("norm", "norm", (last,), (hidden,), body.norm, None, "head"))
    result.append(HfValue("logits", "product", ("norm",), (size,), hf_model.lm_head, None, "head"))
    return result


def _layer_steps(layer: Any, number: int, before: str, config: Any) -> list[HfValue]:
    """The values of a layer whose input is the value named `before`."""
    hidden, inner, heads = (
        config.hidden_size,
        config.intermediate_size,
        config.num_attention_heads,
    )
    kv_heads = config.num_key_value_heads or heads
    head_dim = getattr(config, "head_dim", None) or hidden // heads
    at, result = f"layers.{number}.", []

    def step(
        name: str,
        kind: str,
        inputs: tuple[str, ...],
        shape: tuple[int, ...],
        compute: Callable[..., torch.Tensor],
        part: str,
        heads: HeadCounts | None = None,
    ) -> None:
        names = tuple(x if x == before or "." in x else at + x for x in inputs)
        result.append(HfValue(at + name, kind, names, shape, compute, number, part, heads))

    attention, mlp = layer.self_attn, layer.mlp
    split = _splitting(heads, kv_heads, head_dim)
    step("input_norm", "norm", (before,), (hidden,), layer.input_layernorm, "attention")
    width = (heads + 2 * kv_heads) * head_dim
    counts = HeadCounts(heads + kv_heads, heads + 2 * kv_heads, head_dim)
    step("qkv", "product", ("input_norm",), (width,), attention.qkv_proj, "attention", counts)
    for i, name in enumerate(("q_unrotated", "k_unrotated", "v")):
        shape = (heads if i == 0 else kv_heads, head_dim)
        step(name, "heads", ("qkv",), shape, _output(split, i), "attention")
    for name, count in (("q", heads), ("k", kv_heads)):
        inputs = (f"{name}_unrotated", "model.cos", "model.sin")
        step(name, "rope", inputs, (count, head_dim), _rotated, "attention")
    attend = _attending(attention)
    step("attention", "attention", ("q", "k", "v"), (heads, head_dim), attend, "attention")
    step("o_proj", "product", ("attention",), (hidden,), _joined(attention.o_proj), "attention")
    step("residual", "add", (before, "o_proj"), (hidden,), torch.add, "attention")
    step("post_norm", "norm", ("residual",), (hidden,), layer.post_attention_layernorm, "MLP")
    step("gate_up", "product", ("post_norm",), (2 * inner,), mlp.gate_up_proj, "MLP")
    for i, name in enumerate(("gate", "up")):  # of a model that has two products
        step(name, "product", ("post_norm",), (inner,), _half(mlp.gate_up_proj, i), "MLP")
    step("product", "multiply", ("gate_up",), (inner,), _gated(mlp.activation_fn), "MLP")
    step("down", "product", ("product",), (hidden,), mlp.down_proj, "MLP")
    step("output", "add", ("residual", "down"), (hidden,), torch.add, "MLP")
    return result


@torch.no_grad()
def values(steps: Sequence[HfValue], golden: Golden) -> SequenceValues:
    """All values of the golden's sequence of tokens."""
    rows = {"model.cos": golden.values["cos"][0], "model.sin": golden.values["sin"][0]}
    for step in steps:
        if step.short in ("gate", "up"):
            gate_up = rows[step.name.rpartition(".")[0] + ".gate_up"]
            rows[step.name] = gate_up.chunk(2, -1)[step.short == "up"]
            continue
        value = golden.values[step.name][0]
        if step.name.endswith(".attention"):
            value = value.unflatten(-1, step.shape)
        elif len(step.shape) == 2:
            value = value.transpose(0, 1)
        rows[step.name] = value
    bf16 = {name: value.bfloat16().float() for name, value in rows.items()}
    isolated = {"embedding": bf16["embedding"]}
    for step in steps:
        if step.compute:
            isolated[step.name] = step.compute(*(bf16[name] for name in step.inputs))
    return SequenceValues(golden.tokens, rows, bf16, isolated)


def _splitting(
    heads: int, kv_heads: int, head_dim: int
) -> Callable[[torch.Tensor], Sequence[torch.Tensor]]:
    def split(qkv: torch.Tensor) -> Sequence[torch.Tensor]:  # [S, (N + 2 K) D]
        by_head = qkv.unflatten(-1, (heads + 2 * kv_heads, head_dim))
        return by_head.split([heads, kv_heads, kv_heads], dim=-2)

    return split


def _output(
    function: Callable[[torch.Tensor], Sequence[torch.Tensor]], number: int
) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: function(x)[number]


def _rotated(
    x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
) -> torch.Tensor:  # [S, heads, D], [S, D] twice
    x = x.transpose(0, 1)[None]
    return modeling_phi3.apply_rotary_pos_emb(x, x, cos[None], sin[None])[0][0].transpose(0, 1)


def _attending(attention: modeling_phi3.Phi3Attention) -> Callable[..., torch.Tensor]:
    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:  # [S, heads, D]
        length = len(q)
        mask = torch.full((length, length), -torch.inf).triu(1)[None, None]
        q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
        out, _ = modeling_phi3.eager_attention_forward(
            attention, q, k, v, mask, scaling=attention.scaling
        )
        return out[0]

    return attend


def _half(linear: torch.nn.Module, number: int) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: linear(x).chunk(2, -1)[number]


def _joined(linear: torch.nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: linear(x.flatten(1))


def _gated(
    activation: Callable[[torch.Tensor], torch.Tensor],
) -> Callable[[torch.Tensor], torch.Tensor]:
    def gated(gate_up: torch.Tensor) -> torch.Tensor:
        gate, up = gate_up.chunk(2, -1)
        return up * activation(gate)

    return gated
