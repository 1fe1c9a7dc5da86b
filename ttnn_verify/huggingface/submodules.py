"""What every submodule of a Hugging Face Phi-3 receives and returns in one pass, by name.

The pass is Hugging Face's own; hooks listen to its modules, and a wrapper to the one function among
them, apply_rotary_pos_emb. A model too large for the host's memory is `streamed`: each module has its
weights only while it runs.
"""

import contextlib
import copy

import torch
import transformers
from transformers.models.phi3 import modeling_phi3


@torch.no_grad()
def values(hf_model, ids):
    """name -> float32 tensor of one pass over ids `[1, S]`; the names and shapes are `shapes`'.

    Args:
        hf_model: a transformers Phi3ForCausalLM, whole or `streamed`.

    Raises:
        ValueError: not one sequence of at least one token.
        TypeError: not a Phi3ForCausalLM.
    """
    check(hf_model, ids)
    seen = {}
    with contextlib.ExitStack() as stack:
        for handle in _listen(hf_model, seen):
            stack.callback(handle.remove)
        stack.enter_context(_rope_seen(seen))
        hf_model(ids, use_cache=False)
    for i in range(hf_model.config.num_hidden_layers):
        name = f"layers.{i}.v"
        seen[name] = _values_of(
            seen[f"layers.{i}.qkv"], shapes(hf_model.config, ids.shape[1])[name]
        )
    return {name: seen[name] for name in shapes(hf_model.config, ids.shape[1])}


def check(hf_model, ids):
    """Raises ValueError and TypeError as `values` does."""
    if ids.ndim != 2 or ids.shape[0] != 1 or ids.shape[1] == 0:
        raise ValueError(f"ids of shape {tuple(ids.shape)}: a golden is of one sequence, [1, S].")
    if not isinstance(hf_model, modeling_phi3.Phi3ForCausalLM):
        raise TypeError(f"a {type(hf_model).__name__}: goldens are of a Phi3ForCausalLM.")


def shapes(config, seq_len):
    """name -> shape of the values of one pass over S tokens, in the order in which they arise.

    Queries and keys are after rope, `_unrotated` before it; attention is before o_proj, residual is
    input plus o_proj, product is silu(gate) * up.
    """
    hidden, inner = config.hidden_size, config.intermediate_size
    heads = config.num_attention_heads
    kv_heads = config.num_key_value_heads or heads
    head_dim = getattr(config, "head_dim", None) or hidden // heads
    q, kv = (1, heads, seq_len, head_dim), (1, kv_heads, seq_len, head_dim)
    wide = {
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
    layer = {name: (1, seq_len, width) for name, width in wide.items()}
    layer |= {"q_unrotated": q, "k_unrotated": kv, "q": q, "k": kv, "v": kv}
    result = {"embedding": (1, seq_len, hidden)}
    result |= {"cos": (1, seq_len, head_dim), "sin": (1, seq_len, head_dim)}
    for i in range(config.num_hidden_layers):
        result |= {f"layers.{i}.{name}": shape for name, shape in layer.items()}
    return result | {
        "norm": (1, seq_len, hidden),
        "logits": (1, seq_len, config.vocab_size),
    }


def streamed(config, weights):
    """A float32 Phi3ForCausalLM that holds the weights of one module at a time, for one pass.

    Memory stays at one decoder layer, or the embedding, beside the activations.

    Args:
        config: a transformers Phi3Config.
        weights: a Mapping from Hugging Face's parameter names to tensors, asked for each name in the
            order of the pass (model.Checkpoint reads them from a folder).
    """
    config = copy.deepcopy(config)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(
            config, dtype=torch.float32, attn_implementation="eager"
        ).eval()
    # computed from the configuration, no weights, so it can stay
    model.model.rotary_emb = modeling_phi3.Phi3RotaryEmbedding(config)
    head = "model.embed_tokens." if config.tie_word_embeddings else "lm_head."
    parts = {"model.embed_tokens.": model.model.embed_tokens, "model.norm.": model.model.norm}
    parts |= {f"model.layers.{i}.": layer for i, layer in enumerate(model.model.layers)}
    for prefix, module in [*parts.items(), (head, model.lm_head)]:
        module.register_forward_pre_hook(_loader(weights, prefix))
        module.register_forward_hook(_unload)
    return model


def _loader(weights, prefix):
    def load(module, args):
        tensors = {name: weights[prefix + name].float() for name in module.state_dict()}
        module.load_state_dict(tensors, assign=True)

    return load


def _unload(module, args, output):
    module.to("meta")


def _listen(hf_model, seen):
    """Hooks that write into `seen`; yields their handles."""

    def received(module, name):
        def hook(module, args, kwargs):
            seen[name] = _kept(args[0] if args else kwargs["hidden_states"])

        return module.register_forward_pre_hook(hook, with_kwargs=True)

    def returned(module, name):
        def hook(module, args, output):
            seen[name] = _kept(output[0] if isinstance(output, tuple) else output)

        return module.register_forward_hook(hook)

    def tables(module, args, output):
        seen["cos"], seen["sin"] = map(_kept, output)

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
def _rope_seen(seen):
    """Keep what apply_rotary_pos_emb is given and returns; a pass calls it once per layer, in order."""
    from ttnn_emulator.interpose import Layer, Level  # brings in ttnn, slow and else not wanted

    calls = 0

    def watched(rotate):
        def wrapper(q, k, *args, **kwargs):
            nonlocal calls
            result = rotate(q, k, *args, **kwargs)
            names = ("q_unrotated", "k_unrotated", "q", "k")
            for name, tensor in zip(names, (q, k, *result), strict=True):
                seen[f"layers.{calls}.{name}"] = _kept(tensor)
            calls += 1
            return result

        return wrapper

    with Layer("a record of rotations", Level.OBSERVER) as layer:
        layer.wrap(modeling_phi3, "apply_rotary_pos_emb", watched)
        yield


def _values_of(qkv, shape):
    """The value heads `[1, K, S, D]`, which are the last columns of qkv `[1, S, (N + 2K) D]`."""
    _, kv_heads, _, head_dim = shape
    return _kept(
        qkv[..., -kv_heads * head_dim :].unflatten(-1, (kv_heads, head_dim)).transpose(1, 2)
    )


def _kept(x):
    """A float32 copy of its own, whatever the module does with the tensor later."""
    return torch.clone(x.detach().float(), memory_format=torch.contiguous_format)
