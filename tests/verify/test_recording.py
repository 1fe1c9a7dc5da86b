"""What is recorded of a pass of Hugging Face's, in architectures that nothing knows by name."""

import functools

import pytest
import torch
import transformers

from ttnn_verify.huggingface import recording

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 128,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GROUPED = SIZES | {"num_key_value_heads": 2}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
GPT2 = {"n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 128, "n_positions": 128}

# What a layer computes, by the names of the values: attention, and what is particular.
ATTENTION = ("q_proj", "k_proj", "v_proj", "q", "k", "attention", "o_proj")
GATED = ("gate", "act_fn", "up", "product", "down")
LIKE_LLAMA = ("input_norm", *ATTENTION, "residual", "post_norm", *GATED, "output")
LIKE_GEMMA2 = (
    *("input_norm", *ATTENTION, "attention_norm", "residual"),
    *("pre_feedforward_layernorm", *GATED, "post_feedforward_layernorm", "output"),
)

MODELS = {
    "llama": (transformers.LlamaConfig(**GROUPED), LIKE_LLAMA),
    "tied llama": (
        transformers.LlamaConfig(**GROUPED, tie_word_embeddings=True, rope_scaling=LLAMA3),
        LIKE_LLAMA,
    ),
    "mistral": (transformers.MistralConfig(**GROUPED, sliding_window=8), LIKE_LLAMA),
    "qwen2": (transformers.Qwen2Config(**GROUPED), LIKE_LLAMA),
    "qwen3": (transformers.Qwen3Config(**GROUPED, head_dim=16), ("q_norm", "k_norm")),
    "gemma": (transformers.GemmaConfig(**GROUPED, head_dim=16), LIKE_LLAMA),
    "gemma2": (transformers.Gemma2Config(**GROUPED, head_dim=16, sliding_window=8), LIKE_GEMMA2),
    "gemma3": (
        transformers.Gemma3TextConfig(**GROUPED, head_dim=16, sliding_window=8),
        ("q_norm", "k_norm", "attention_norm", "post_feedforward_layernorm"),
    ),
    "phi3": (transformers.Phi3Config(**GROUPED), ("qkv", "gate_up")),
    "phi4": (transformers.Phi3Config(**GROUPED, partial_rotary_factor=0.75), ("qkv", "q", "k")),
    "arcee": (transformers.ArceeConfig(**GROUPED), ("up", "act_fn", "down")),
    "granite": (
        transformers.GraniteConfig(**GROUPED, residual_multiplier=0.22, logits_scaling=8.0),
        ("residual", "output"),
    ),
    "smollm3": (transformers.SmolLM3Config(**GROUPED), LIKE_LLAMA),
    "olmo2": (transformers.Olmo2Config(**GROUPED), ("q_norm", "k_norm", "attention_norm")),
    "starcoder2": (transformers.Starcoder2Config(**GROUPED), ("c_fc", "c_proj")),
    "gpt neox": (transformers.GPTNeoXConfig(**SIZES), ("query_key_value", "dense", "output")),
    "phi": (transformers.PhiConfig(**GROUPED), ("fc1", "fc2")),
    "cohere": (transformers.CohereConfig(**GROUPED), ("o_proj", "down", "output")),
    "gpt2": (transformers.GPT2Config(**GPT2), ("c_attn", "attention", "output")),
    "glm4": (transformers.Glm4Config(**GROUPED, head_dim=16), ("gate_up", "post_mlp_layernorm")),
    "mixtral": (transformers.MixtralConfig(**GROUPED, num_local_experts=4), ATTENTION),
    "qwen3 moe": (
        transformers.Qwen3MoeConfig(
            **GROUPED, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=48
        ),
        ("q_norm", "k_norm", "output"),
    ),
}

IDS = torch.randint(3, 128, (1, 20), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def recorded():
    @functools.cache
    def of(name):
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(
            MODELS[name][0], attn_implementation="eager", dtype=torch.float32
        ).eval()
        return model, recording.record(model, IDS)

    return of


every_model = pytest.mark.parametrize("name", MODELS)


@every_model
def test_the_values_of_a_layer_are_named(recorded, name):
    _, found = recorded(name)
    values = [step.short for step in found.steps if step.layer == 0 and step.within is None]
    expected = MODELS[name][1]
    assert [value for value in values if value in expected] == list(expected)
    assert len(set(values)) == len(values)
    assert values[-1] == "output"
    kinds = [step.kind for step in found.steps if step.layer == 0 and step.within is None]
    assert kinds.count("attention") == 1


@every_model
def test_the_logits_are_the_models(recorded, name):
    model, found = recorded(name)
    with torch.no_grad():
        logits = model(IDS, use_cache=False).logits
    assert found.steps[-1].name == "logits"
    torch.testing.assert_close(found.values["logits"], logits, rtol=1e-4, atol=1e-5)


@every_model
def test_a_value_follows_from_its_inputs_up_to_a_rounding(recorded, name):
    """What a step makes of inputs in bfloat16."""
    _, found = recorded(name)
    for step in found.steps:
        value, isolated = found.values[step.name], found.isolated[step.name]
        known = value.isfinite() & isolated.isfinite()
        error = (value - isolated)[known].norm() / value[known].norm()
        assert error < 0.03, step.name


@every_model
def test_inputs_come_before(recorded, name):
    _, found = recorded(name)
    before = set()
    for step in found.steps:
        assert set(step.inputs) <= before, step.name
        before.add(step.name)
