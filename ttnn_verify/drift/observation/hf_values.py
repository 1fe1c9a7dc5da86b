"""What each step of a Hugging Face Phi-3 makes of Hugging Face's own values: the steps a model takes.

S sequence, H hidden, N heads, K kv heads, D head_dim, I intermediate, V vocabulary. Values here have a
row per position, `[S, W]`, or `[S, heads, D]` where a step works on heads.
"""

import dataclasses
from collections.abc import Callable

import torch
from transformers.models.phi3 import modeling_phi3


@dataclasses.dataclass(frozen=True)
class Step:
    """A step of the model, and the value it makes.

    Attributes:
        name: of the value, as `ttnn_verify.huggingface.submodules.shapes` has it; "layers.2.q", say.
        kind: of the operation that makes it: "embedding", "norm", "product", "heads", "rope",
            "attention", "add", "multiply".
        inputs: names of the values it is made of.
        shape: (W,) or (heads, D) of a row.
        due: `due(*inputs)` is its value, all of all positions.
        layer: number, None outside of the layers.
        part: "embedding", "attention", "MLP" or "head".
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    due: Callable
    layer: int | None
    part: str

    @property
    def short(self):
        """The name within its layer."""
        return self.name.rpartition(".")[2]


@dataclasses.dataclass(frozen=True)
class Values:
    """What is due of one sequence of tokens.

    Attributes:
        golden: name -> Hugging Face's own values, float32.
        given: the same in bfloat16, which is what a model on the device hands on.
        isolated: name -> what Hugging Face's step makes of `given`, float32.
    """

    tokens: torch.Tensor  # [1, S]
    golden: dict[str, torch.Tensor]
    given: dict[str, torch.Tensor]
    isolated: dict[str, torch.Tensor]


def steps(hf_model):
    """The steps of a pass, in Hugging Face's order: a list of `Step`."""
    config, body = hf_model.config, hf_model.model
    hidden, inner = config.hidden_size, config.intermediate_size
    heads = config.num_attention_heads
    kv_heads = config.num_key_value_heads or heads
    head_dim = getattr(config, "head_dim", None) or hidden // heads
    made = [
        Step("embedding", "embedding", (), (hidden,), None, None, "embedding"),
    ]
    before = "embedding"
    for i, layer in enumerate(body.layers):
        at = f"layers.{i}."

        def step(name, kind, inputs, shape, due, part, at=at, i=i, before=before):
            names = tuple(x if x == before or "." in x else at + x for x in inputs)
            made.append(Step(at + name, kind, names, shape, due, i, part))

        attention, mlp = layer.self_attn, layer.mlp
        split = _splitting(heads, kv_heads, head_dim)
        step("input_norm", "norm", (before,), (hidden,), layer.input_layernorm, "attention")
        width = (heads + 2 * kv_heads) * head_dim
        step("qkv", "product", ("input_norm",), (width,), attention.qkv_proj, "attention")
        for number, name in enumerate(("q_unrotated", "k_unrotated", "v")):
            shape = (heads if number == 0 else kv_heads, head_dim)
            step(name, "heads", ("qkv",), shape, _one(split, number), "attention")
        for name, count in (("q", heads), ("k", kv_heads)):
            inputs = (f"{name}_unrotated", "model.cos", "model.sin")
            step(name, "rope", inputs, (count, head_dim), _rotated, "attention")
        due = _attending(attention)
        step("attention", "attention", ("q", "k", "v"), (heads, head_dim), due, "attention")
        step("o_proj", "product", ("attention",), (hidden,), _joined(attention.o_proj), "attention")
        step("residual", "add", (before, "o_proj"), (hidden,), torch.add, "attention")
        step("post_norm", "norm", ("residual",), (hidden,), layer.post_attention_layernorm, "MLP")
        step("gate_up", "product", ("post_norm",), (2 * inner,), mlp.gate_up_proj, "MLP")
        for number, name in enumerate(("gate", "up")):  # of a model that has two products
            due = _half(mlp.gate_up_proj, number)
            step(name, "product", ("post_norm",), (inner,), due, "MLP")
        step("product", "multiply", ("gate_up",), (inner,), _gated(mlp.activation_fn), "MLP")
        step("down", "product", ("product",), (hidden,), mlp.down_proj, "MLP")
        step("output", "add", ("residual", "down"), (hidden,), torch.add, "MLP")
        before = at + "output"
    made.append(Step("norm", "norm", (before,), (hidden,), body.norm, None, "head"))
    size = config.vocab_size
    made.append(Step("logits", "product", ("norm",), (size,), hf_model.lm_head, None, "head"))
    return made


@torch.no_grad()
def values(steps, golden):
    """The `Values` of a `ttnn_verify.huggingface.golden.Golden` for all steps."""
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
    given = {name: value.bfloat16().float() for name, value in rows.items()}
    isolated = {"embedding": given["embedding"]}
    for step in steps:
        if step.due:
            isolated[step.name] = step.due(*(given[name] for name in step.inputs))
    return Values(golden.tokens, rows, given, isolated)


def _splitting(heads, kv_heads, head_dim):
    def split(qkv):  # [S, (N + 2 K) D]
        by_head = qkv.unflatten(-1, (heads + 2 * kv_heads, head_dim))
        return by_head.split([heads, kv_heads, kv_heads], dim=-2)

    return split


def _one(function, number):
    return lambda x: function(x)[number]


def _rotated(x, cos, sin):  # [S, heads, D], [S, D] twice
    x = x.transpose(0, 1)[None]
    return modeling_phi3.apply_rotary_pos_emb(x, x, cos[None], sin[None])[0][0].transpose(0, 1)


def _attending(attention):
    def attend(q, k, v):  # [S, heads, D]
        length = len(q)
        mask = torch.full((length, length), -torch.inf).triu(1)[None, None]
        q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
        out, _ = modeling_phi3.eager_attention_forward(
            attention, q, k, v, mask, scaling=attention.scaling
        )
        return out[0]

    return attend


def _half(linear, number):
    return lambda x: linear(x).chunk(2, -1)[number]


def _joined(linear):
    return lambda x: linear(x.flatten(1))


def _gated(activation):
    def gated(gate_up):
        gate, up = gate_up.chunk(2, -1)
        return up * activation(gate)

    return gated
