"""Gemma 3's text model in TTNN: functions over a dictionary of parameters, no cache, no shards.

A call computes the whole sequence again, filled up to whole tiles with padding tokens; what it
hands back as `past_key_values` is the token ids so far. Both masks are given to the attention.
"""

from types import SimpleNamespace

import torch
import ttnn

MASKED = -1e9


def build_model(hf_model, tt_device, max_seq_len):
    """Gemma3ForCausalLM on the device: a function that is called as the model is, with B = 1."""
    config = hf_model.config
    parameters = preprocess(hf_model.state_dict(), config, tt_device)
    windows = {"sliding_attention": config.sliding_window, "full_attention": max_seq_len}
    constants = {}
    for kind, window in windows.items():
        theta = config.rope_parameters[kind]["rope_theta"]
        cos, sin = rope_tables(theta, config.head_dim, max_seq_len, tt_device)
        constants[kind] = cos, sin, window_mask(window, max_seq_len, tt_device)

    def model(input_ids, past_key_values=None, attention_mask=None, use_cache=True):
        if past_key_values is not None:
            tokens = torch.cat((past_key_values, input_ids), dim=1)
        else:
            tokens = input_ids
        if tokens.shape[0] != 1 or tokens.shape[1] > max_seq_len:
            raise ValueError(f"{list(tokens.shape)} tokens; [1, {max_seq_len}] at most.")
        logits = gemma(tokens, parameters, constants, config, tt_device)
        return SimpleNamespace(
            logits=logits[:, tokens.shape[1] - input_ids.shape[1] : tokens.shape[1]],
            past_key_values=tokens if use_cache else None,
        )

    return model


# --- parameters -----------------------------------------------------------------------------------


def on_device(tensor, device, layout=ttnn.TILE_LAYOUT):
    return ttnn.from_torch(tensor.contiguous(), ttnn.bfloat16, layout=layout, device=device)


def preprocess(state, config, device):
    """Names without "model." and ".weight" -> tensors on the device.

    Matrices are turned, k and v are one matrix, and norms hold 1 + w.
    """
    parameters = {}
    for name, weight in state.items():
        name = name.removeprefix("model.").removesuffix(".weight")
        if name == "embed_tokens":
            scaled = weight * config.hidden_size**0.5
            parameters["embedding"] = on_device(scaled, device, ttnn.ROW_MAJOR_LAYOUT)
        elif name.endswith("norm"):
            parameters[name] = on_device(1 + weight[None, None, None], device)
        elif name.endswith("k_proj"):
            values = state[f"model.{name[:-6]}v_proj.weight"]
            parameters[f"{name[:-6]}kv_proj"] = on_device(torch.cat((weight, values)).T, device)
        elif not name.endswith("v_proj"):
            parameters[name] = on_device(weight.T, device)
    return parameters


def rope_tables(theta, head_dim, length, device):
    """cos and sin, [1, 1, C, D]: both halves of a head have the same angles."""
    frequencies = 1 / theta ** (torch.arange(0, head_dim, 2) / head_dim)
    angles = (torch.arange(padded(length))[:, None] * frequencies).repeat(1, 2)[None, None]
    return on_device(angles.cos(), device), on_device(angles.sin(), device)


def window_mask(window, length, device):
    """[1, 1, C, C]: a token sees itself and the window - 1 tokens before it."""
    rows = torch.arange(padded(length))
    distance = rows[:, None] - rows
    hidden = (distance < 0) | (distance >= window)
    return on_device((hidden * MASKED)[None, None], device)


def padded(length):
    return (length + 31) // 32 * 32


# --- the model ------------------------------------------------------------------------------------


def gemma(tokens, p, constants, config, device):
    """Logits [1, S, V] of tokens [1, S], S a multiple of 32 after padding."""
    s = padded(tokens.shape[1])
    ids = torch.nn.functional.pad(tokens, (0, s - tokens.shape[1]), value=config.pad_token_id)
    ids = ttnn.from_torch(ids.int(), ttnn.uint32, device=device)
    x = ttnn.embedding(ids, p["embedding"], layout=ttnn.TILE_LAYOUT)
    x = ttnn.reshape(x, (1, 1, s, config.hidden_size))
    now = {
        kind: (
            ttnn.slice(cos, (0, 0, 0, 0), (1, 1, s, config.head_dim)),
            ttnn.slice(sin, (0, 0, 0, 0), (1, 1, s, config.head_dim)),
            ttnn.slice(mask, (0, 0, 0, 0), (1, 1, s, s)),
        )
        for kind, (cos, sin, mask) in constants.items()
    }
    for i, kind in enumerate(config.layer_types):
        x = decoder_layer(x, p, f"layers.{i}.", now[kind], config)
    x = norm(x, p["norm"], config)
    return ttnn.to_torch(ttnn.matmul(x, p["lm_head"]))[0].float()


def norm(x, weight, config):
    return ttnn.rms_norm(x, weight=weight, epsilon=config.rms_norm_eps)


def decoder_layer(x, p, at, constants, config):
    """Two blocks, each between two norms and beside a residual. x is [1, 1, S, H]."""
    y = norm(x, p[at + "input_layernorm"], config)
    y = attention(y, p, at + "self_attn.", constants, config)
    x = x + norm(y, p[at + "post_attention_layernorm"], config)
    y = norm(x, p[at + "pre_feedforward_layernorm"], config)
    y = geglu_mlp(y, p, at + "mlp.")
    return x + norm(y, p[at + "post_feedforward_layernorm"], config)


def attention(x, p, at, constants, config):
    cos, sin, mask = constants
    q, k, v = ttnn.experimental.nlp_create_qkv_heads(
        ttnn.matmul(x, p[at + "q_proj"]),
        ttnn.matmul(x, p[at + "kv_proj"]),
        num_heads=config.num_attention_heads,
        num_kv_heads=config.num_key_value_heads,
        transpose_k_heads=False,
    )
    q, k = norm(q, p[at + "q_norm"], config), norm(k, p[at + "k_norm"], config)
    q = ttnn.experimental.rotary_embedding_hf(q, cos, sin)
    k = ttnn.experimental.rotary_embedding_hf(k, cos, sin)
    y = ttnn.transformer.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=False, scale=config.query_pre_attn_scalar**-0.5
    )
    return ttnn.matmul(ttnn.experimental.nlp_concat_heads(y), p[at + "o_proj"])


def geglu_mlp(x, p, at):
    """down(gelu(gate) up), with the tanh that stands for gelu in Gemma."""
    gate = ttnn.matmul(x, p[at + "gate_proj"])
    inner = gate * (gate * gate * 0.044715 + 1.0) * (2 / torch.pi) ** 0.5
    gate = gate * 0.5 * (ttnn.tanh(inner) + 1.0)
    return ttnn.matmul(gate * ttnn.matmul(x, p[at + "up_proj"]), p[at + "down_proj"])
