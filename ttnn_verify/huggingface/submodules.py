"""What every submodule of a Hugging Face Phi-3 receives and returns in one pass, by name.

The pass is Hugging Face's own; hooks record what its modules receive and return, and a wrapper does
the same for the one function among them, apply_rotary_pos_emb. A model whose float32 weights do not
fit into the host's memory is `streamed`: each module has its weights only while it runs.
"""

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import transformers
from torch.utils.hooks import RemovableHandle
from transformers.models.phi3 import modeling_phi3

Values = dict[str, torch.Tensor]


@torch.no_grad()
def values(hf_model: transformers.PreTrainedModel, ids: torch.Tensor) -> Values:
    """name -> float32 tensor of one pass over ids `[1, S]`; `shapes` lists names and shapes.

    Args:
        hf_model: a transformers Phi3ForCausalLM, whole or `streamed`.

    Raises:
        ValueError: not one sequence of at least one token.
        TypeError: not a Phi3ForCausalLM.
    """
    check(hf_model, ids)
    recorded: Values = {}
    with contextlib.ExitStack() as stack:
        for handle in _hooks(hf_model, recorded):
            stack.callback(handle.remove)
        stack.enter_context(_rope_recorded(recorded))
        hf_model(ids, use_cache=False)
    expected_shapes = shapes(hf_model.config, ids.shape[1])
    for i in range(hf_model.config.num_hidden_layers):
        name = f"layers.{i}.v"
        recorded[name] = _value_heads(recorded[f"layers.{i}.qkv"], expected_shapes[name])
    return {name: recorded[name] for name in expected_shapes}


def check(hf_model: torch.nn.Module, ids: torch.Tensor) -> None:
    """Refuse models and ids for which there is no golden.

    Raises:
        ValueError, TypeError: as `values`.
    """
    if ids.ndim != 2 or ids.shape[0] != 1 or ids.shape[1] == 0:
        raise ValueError(f"ids of shape {tuple(ids.shape)}: a golden is of one sequence, [1, S].")
    if not isinstance(hf_model, modeling_phi3.Phi3ForCausalLM):
        raise TypeError(f"a {type(hf_model).__name__}: goldens are of a Phi3ForCausalLM.")


def shapes(config: transformers.PretrainedConfig, seq_len: int) -> dict[str, tuple[int, ...]]:
    """name -> shape of the values of one pass over S tokens, in order of computation.

    "q" and "k" are after rope, "q_unrotated" and "k_unrotated" before it; "attention" is before
    o_proj, "residual" is input plus o_proj, "product" is silu(gate) * up.
    """
    hidden, inner = config.hidden_size, config.intermediate_size
    heads = config.num_attention_heads
    kv_heads = config.num_key_value_heads or heads
    head_dim = getattr(config, "head_dim", None) or hidden // heads
    q, kv = (1, heads, seq_len, head_dim), (1, kv_heads, seq_len, head_dim)
    widths = {
        "input": hidden,
        "input_norm": hidden,
        "qkv": (heads + 2 * kv_heads) * head_dim,
        "attention": heads * head_dim,
        "o_proj": hidden,
        "residual": hidden,
        "post_norm": hidden,
        "gate_up": 2 * inner,
        "product": inner,
        "down": hidden,
        "output": hidden,
    }
    layer: dict[str, tuple[int, ...]] = {
        name: (1, seq_len, width) for name, width in widths.items()
    }
    layer |= {"q_unrotated": q, "k_unrotated": kv, "q": q, "k": kv, "v": kv}
    result: dict[str, tuple[int, ...]] = {"embedding": (1, seq_len, hidden)}
    result |= {"cos": (1, seq_len, head_dim), "sin": (1, seq_len, head_dim)}
    for i in range(config.num_hidden_layers):
        result |= {f"layers.{i}.{name}": shape for name, shape in layer.items()}
    return result | {
        "norm": (1, seq_len, hidden),
        "logits": (1, seq_len, config.vocab_size),
    }


def streamed(
    config: transformers.Phi3Config, weights: Mapping[str, torch.Tensor]
) -> transformers.PreTrainedModel:
    """A float32 Phi3ForCausalLM with eager attention that holds one module's weights at a time.

    A pass needs memory for one decoder layer, or the embedding, beside the activations; each pass
    reads all weights anew.

    Args:
        config: it is copied.
        weights: Hugging Face's parameter names -> tensors of any floating dtype, such as a state
            dict; read in the order of the pass.
    """
    config = copy.deepcopy(config)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(
            config, dtype=torch.float32, attn_implementation="eager"
        ).eval()
    # its tables depend on the configuration alone, so it can stay in memory
    model.model.rotary_emb = modeling_phi3.Phi3RotaryEmbedding(config)
    head = "model.embed_tokens." if config.tie_word_embeddings else "lm_head."
    parts = {"model.embed_tokens.": model.model.embed_tokens, "model.norm.": model.model.norm}
    parts |= {f"model.layers.{i}.": layer for i, layer in enumerate(model.model.layers)}
    for prefix, module in [*parts.items(), (head, model.lm_head)]:
        module.register_forward_pre_hook(_loader(weights, prefix))
        module.register_forward_hook(_unload)
    return model


def _loader(weights: Mapping[str, torch.Tensor], prefix: str) -> Callable[..., None]:
    def load(module: torch.nn.Module, args: tuple) -> None:
        tensors = {name: weights[prefix + name].float() for name in module.state_dict()}
        module.load_state_dict(tensors, assign=True)

    return load


def _unload(module: torch.nn.Module, args: tuple, output: object) -> None:
    module.to("meta")


def _hooks(hf_model: transformers.PreTrainedModel, recorded: Values) -> Iterator[RemovableHandle]:
    """Register hooks that write into `recorded`; yields their handles."""

    def received(module: torch.nn.Module, name: str) -> RemovableHandle:
        def hook(module: torch.nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
            recorded[name] = _copied(args[0] if args else kwargs["hidden_states"])

        return module.register_forward_pre_hook(hook, with_kwargs=True)

    def returned(module: torch.nn.Module, name: str) -> RemovableHandle:
        def hook(module: torch.nn.Module, args: tuple, output: Any) -> None:
            recorded[name] = _copied(output[0] if isinstance(output, tuple) else output)

        return module.register_forward_hook(hook)

    def tables(module: torch.nn.Module, args: tuple, output: Any) -> None:
        recorded["cos"], recorded["sin"] = map(_copied, output)

    body = hf_model.model
    yield returned(body.embed_tokens, "embedding")
    yield body.rotary_emb.register_forward_hook(tables)
    for i, layer in enumerate(body.layers):
        at = f"layers.{i}."
        attention, mlp = layer.self_attn, layer.mlp
        yield received(layer, at + "input")
        yield returned(layer.input_layernorm, at + "input_norm")
        yield returned(attention.qkv_proj, at + "qkv")
        yield received(attention.o_proj, at + "attention")
        yield returned(attention.o_proj, at + "o_proj")
        yield received(layer.post_attention_layernorm, at + "residual")
        yield returned(layer.post_attention_layernorm, at + "post_norm")
        yield returned(mlp.gate_up_proj, at + "gate_up")
        yield received(mlp.down_proj, at + "product")
        yield returned(mlp.down_proj, at + "down")
        yield returned(layer, at + "output")
    yield returned(body.norm, "norm")
    yield returned(hf_model.lm_head, "logits")


@contextlib.contextmanager
def _rope_recorded(recorded: Values) -> Iterator[None]:
    """Record arguments and results of apply_rotary_pos_emb, which a pass calls once per layer."""
    # imports ttnn, which is slow and not needed otherwise
    from ttnn_emulator.interpose import Layer, Level

    calls = 0

    def watched(rotate: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(q: torch.Tensor, k: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            result = rotate(q, k, *args, **kwargs)
            names = ("q_unrotated", "k_unrotated", "q", "k")
            for name, tensor in zip(names, (q, k, *result), strict=True):
                recorded[f"layers.{calls}.{name}"] = _copied(tensor)
            calls += 1
            return result

        return wrapper

    with Layer("a record of rotations", Level.OBSERVER) as layer:
        layer.wrap(modeling_phi3, "apply_rotary_pos_emb", watched)
        yield


def _value_heads(qkv: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """The value heads `[1, K, S, D]`, which are the last columns of qkv `[1, S, (N + 2K) D]`."""
    _, kv_heads, _, head_dim = shape
    return _copied(
        qkv[..., -kv_heads * head_dim :].unflatten(-1, (kv_heads, head_dim)).transpose(1, 2)
    )


def _copied(x: torch.Tensor) -> torch.Tensor:
    """A float32 copy that does not change when the module reuses the tensor."""
    return torch.clone(x.detach().float(), memory_format=torch.contiguous_format)
