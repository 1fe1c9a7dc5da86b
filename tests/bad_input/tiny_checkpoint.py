"""A Phi-3 of one layer that everything runs on within a second, and a model file for it."""

import json
import pathlib

import safetensors.torch
import tokenizers
import torch
import transformers

VOCABULARY = 64  # the words w1 to w63, and one for all others
POSITIONS = 64
PROMPT = "w3 w4 w5 w6 w7"

# Every step is Hugging Face's but the last one, so that most of what can go wrong is the reader's.
MODEL_PY = """
import types

import ttnn


def build_model(hf_model, tt_device, max_seq_len):
    def on_device(tensor):
        return ttnn.from_torch(
            tensor, dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=tt_device
        )

    weight = on_device(hf_model.lm_head.weight.T)

    def model(input_ids, past_key_values=None, use_cache=True):
        out = hf_model.model(input_ids, past_key_values=past_key_values, use_cache=True)
        logits = ttnn.to_torch(ttnn.linear(on_device(out.last_hidden_state), weight))
        return types.SimpleNamespace(logits=logits, past_key_values=out.past_key_values)

    return model
"""


def config(
    width: int = 64, vocabulary: int = VOCABULARY, positions: int = POSITIONS
) -> transformers.Phi3Config:
    """Of a Phi-3 of one layer, whose one head is `width` wide."""
    return transformers.Phi3Config(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        max_position_embeddings=positions,
        original_max_position_embeddings=positions,
        initializer_range=0.5,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )


def save(folder: pathlib.Path) -> pathlib.Path:
    """Write the checkpoint, with its tokenizer, into a folder that is made. Returns the folder."""
    torch.manual_seed(0)
    written = config()
    hf_model = transformers.Phi3ForCausalLM(written).bfloat16()
    folder.mkdir(parents=True)
    # written by hand: transformers' own way shows a bar
    written.architectures, written.dtype = ["Phi3ForCausalLM"], torch.bfloat16
    written.to_json_file(folder / "config.json", use_diff=False)
    weights = {name: tensor.contiguous() for name, tensor in hf_model.state_dict().items()}
    safetensors.torch.save_file(weights, folder / "model.safetensors", {"format": "pt"})
    words = {"<unk>": 0} | {f"w{number}": number for number in range(1, VOCABULARY)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    named = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    return folder
