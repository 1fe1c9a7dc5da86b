"""hypothesis strategies for what people hand to a command by mistake: checkpoints, figures.

- `configurations`: config.json
- `weights`: safetensors, alone or in shards
- `tokenizers`: tokenizer.json and tokenizer_config.json
- `baselines`: files of --pcc-record

Each draws an `Example`, or contents: files that stand in for those of a right input, which is left
as it is elsewhere. What is drawn need not be wrong. Tables of values that did harm come first, so
that examples shrink to them; bytes and JSON of any kind follow.
"""

import json
from collections.abc import Callable
from typing import Any

import safetensors.torch
import torch
from hypothesis import strategies as st

from .examples import FOLDER, Contents, Example, any_of, documents, shown, values

# --- config.json ---------------------------------------------------------------------------------

# Fields that the tiny checkpoint's own does not have, or that have more meanings than values().
FIELDS: dict[str, tuple[Any, ...]] = {
    "model_type": ("llama", "gemma3_text", "qwen2", "bert", "whisper", "mamba", "phi4", "", 5),
    "architectures": (["LlamaForCausalLM"], ["NoSuchModel"], "Phi3ForCausalLM", [5], {}),
    "dtype": ("float8_e4m3fn", "int8", "fp4", "float64", "float16", "cuda", "bool", "Tensor", 16),
    "torch_dtype": ("float8_e4m3fn", "int8", "nonsense", 16),
    "attn_implementation": ("flash_attention_2", "sdpa", "nonsense", "org/kernel", 5),
    "_attn_implementation": ("flash_attention_2", "nonsense", 5),
    "quantization_config": (
        {"quant_method": "bitsandbytes", "load_in_4bit": True},
        {"quant_method": "gptq", "bits": 4},
        {"quant_method": "awq"},
        {"quant_method": "fp8"},
        {"quant_method": "mxfp4"},
        {"quant_method": "compressed-tensors"},
        {"quant_method": "torchao"},
        {"quant_method": "nonsense"},
        {"quant_method": None},
        {"bits": 4},
        {},
        [],
        "4bit",
        True,
    ),
    "rope_parameters": (
        {"rope_type": "longrope"},
        {"rope_type": "longrope", "short_factor": [], "long_factor": []},
        {"rope_type": "longrope", "short_factor": [1.0] * 32, "long_factor": ["a"] * 32},
        {"rope_type": "longrope", "short_factor": 1, "long_factor": None, "rope_theta": 1e4},
        {"rope_type": "nonsense", "rope_theta": 1e4},
        {"rope_type": ["default"], "rope_theta": 1e4},
        {"rope_theta": "much", "rope_type": "default"},
        {"rope_theta": 0, "rope_type": "default"},
        {"rope_theta": -1e4, "rope_type": "default"},
        {"partial_rotary_factor": 0, "rope_type": "default", "rope_theta": 1e4},
        {"partial_rotary_factor": -3, "rope_type": "default", "rope_theta": 1e4},
        {"full_attention": 5},
    ),
    "rope_scaling": ({"type": "su"}, {"type": "linear", "factor": 2}, {"type": 5}, "su"),
    "auto_map": ({"AutoConfig": "config.Config", "AutoModelForCausalLM": "model.Model"}, 5),
    "layer_types": (["sliding_attention"], ["nonsense"], [], 5),
    "head_dim": (0, 1, 63, 96, 128),
    "hidden_act": ("gelu", "nonsense", ""),
    "is_encoder_decoder": (True,),
    "text_config": ({"vocab_size": 3}, 5),
    "transformers_version": ("99.0", 5),
    "num_hidden_layers": (0, 2, 1000, 10**9),
    "max_position_embeddings": (0, 1, 16, 10**30),
    "tie_word_embeddings": (True, "yes"),
    "use_cache": (False,),
    "return_dict": (False,),
    "output_attentions": (True,),
    "eos_token_id": (63, 64, [2, 3], [], [[2]], -5),
}


@st.composite
def _changed(draw: st.DrawFn, right: dict[str, Any]) -> Example:
    """The configuration with one to three fields changed or taken out."""
    names = sorted(right.keys() | FIELDS.keys())
    config, changes = dict(right), []
    for name in draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True)):
        own = FIELDS.get(name, ())
        value = draw(st.one_of(st.sampled_from(own), values()) if own else values())
        if name in right and draw(st.integers(0, 9)) == 0:
            del config[name]
            changes.append(f"no {name}")
        else:
            config[name] = value
            changes.append(f"{name}: {shown(value)}")
    return Example(", ".join(changes), {"config.json": json.dumps(config).encode()})


def configurations(right: bytes) -> st.SearchStrategy[Example]:
    """config.json: fields of any type and size, other architectures, or no JSON at all."""
    whole = documents(right).map(
        lambda contents: Example(f"config.json: {shown(contents)}", {"config.json": contents})
    )
    changed = _changed(json.loads(right))
    return any_of(changed, changed, changed, whole)


# --- safetensors ---------------------------------------------------------------------------------

Weights = dict[str, torch.Tensor]
FIRST = "model.layers.0."
DTYPES = (torch.float64, torch.float16, torch.int8, torch.bool, torch.float8_e4m3fn)


def _with(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Weights, str], Weights]:
    return lambda weights, name: weights | {name: change(weights[name])}


def _without(weights: Weights, name: str) -> Weights:
    return {other: tensor for other, tensor in weights.items() if other != name}


def _another_layer(weights: Weights, name: str) -> Weights:
    layer = {n: tensor for n, tensor in weights.items() if n.startswith(FIRST)}
    return weights | {n.replace(".0.", ".1."): tensor.clone() for n, tensor in layer.items()}


CHANGES: dict[str, Callable[[Weights, str], Weights]] = {
    "another layer": _another_layer,
    "no": _without,
    "a tensor that nothing reads beside": lambda w, name: w | {"extra": torch.zeros(3)},
    "NaN in": _with(lambda x: torch.full_like(x, torch.nan)),
    "infinity in": _with(lambda x: torch.full_like(x, torch.inf)),
    "zeros in": _with(torch.zeros_like),
    "huge values in": _with(lambda x: torch.full_like(x, 3e38)),
    "a row more in": _with(lambda x: torch.cat((x, x[:1]))),
    "no rows in": _with(lambda x: x[:0].clone()),
    "a dimension more in": _with(lambda x: x[None].clone()),
    "a scalar for": _with(lambda x: torch.zeros(())),
    "another name for": lambda w, name: _without(w, name) | {f"{name}_": w[name]},
    **{f"{dtype} in": _with(lambda x, dtype=dtype: x.to(dtype)) for dtype in DTYPES},
}


def weights(right: bytes) -> st.SearchStrategy[Example]:
    """model.safetensors: damaged files, wrong tensors, shards that are not there."""
    tensors = safetensors.torch.load(right)

    def changed(how: str, name: str) -> Example:
        made = CHANGES[how](tensors, name)
        contents = safetensors.torch.save(made, {"format": "pt"})
        return Example(f"weights: {how} {name}", {"model.safetensors": contents})

    def of(contents: Contents) -> Example:
        return Example(f"weights: {shown(contents)}", {"model.safetensors": contents})

    size = int.from_bytes(right[:8], "little")
    damaged = (
        None,
        FOLDER,
        b"",
        b"\x00" * 8,
        right[:8],
        right[: 8 + size],
        right[:-1],
        right + b"\x00",
        (2**63).to_bytes(8, "little") + right[8:],
        (size - 1).to_bytes(8, "little") + right[8:],
        right[:8] + b"{" * size + right[8 + size :],
        right.replace(b"BF16", b"XX99"),
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 23616\n",
    )
    cut = st.integers(0, len(right) - 1).map(lambda n: right[:n])
    named = st.builds(changed, st.sampled_from(list(CHANGES)), st.sampled_from(sorted(tensors)))
    other = st.one_of(st.sampled_from(damaged).map(of), st.binary(max_size=64).map(of))
    return any_of(named, named, other, cut.map(of), shards(sorted(tensors)))


def shards(names: list[str]) -> st.SearchStrategy[Example]:
    """Indices of shards that do not fit, and files of the format before safetensors."""
    index = "model.safetensors.index.json"
    whole = {"metadata": {}, "weight_map": dict.fromkeys(names, "model-00001-of-00001.safetensors")}
    away = dict.fromkeys(names, "../../etc/passwd")
    documents = (
        whole,
        whole | {"weight_map": {}},
        whole | {"weight_map": away},
        whole | {"weight_map": dict.fromkeys(names, 5)},
        whole | {"weight_map": names},
        {"weight_map": None},
        {},
        [],
        5,
    )
    indices = st.sampled_from(documents).map(
        lambda document: Example(
            f"index {shown(document)}",
            {"model.safetensors": None, index: json.dumps(document).encode()},
        )
    )
    pickles = st.sampled_from((b"", b"garbage", b"PK\x03\x04", b"\x80\x04cos\nsystem\n.")).map(
        lambda contents: Example(
            f"pytorch_model.bin: {contents!r}",
            {"model.safetensors": None, "pytorch_model.bin": contents},
        )
    )
    return st.one_of(indices, pickles)


# --- tokenizers ----------------------------------------------------------------------------------

PROMPTS = ("w3 w4 w5", "", "w3 \x00 w4", "w3 " * 20, "w3 " * 200, "\U0001f600", "nothing it knows")


@st.composite
def tokenizers(draw: st.DrawFn, right: bytes) -> Example:
    """Tokenizers that are damaged, or of another vocabulary; with a prompt or without."""
    model = json.loads(right)
    larger = {f"w{number}": 10 * number for number in range(64)}
    others = (
        model | {"model": model["model"] | {"vocab": larger}},
        model | {"model": model["model"] | {"vocab": {}}},
        model | {"model": model["model"] | {"type": "nonsense"}},
        model | {"pre_tokenizer": {"type": "nonsense"}},
        model | {"version": "9.9"},
    )
    wrong = [json.dumps(other).encode() for other in others]
    contents = draw(st.one_of(st.sampled_from(wrong), documents(right)))
    files: dict[str, Contents] = {"tokenizer.json": contents}
    what = f"tokenizer.json: {shown(contents)}"
    if draw(st.booleans()):
        configs = (
            b'{"tokenizer_class": "NoSuchTokenizer"}',
            b'{"tokenizer_class": 5}',
            b'{"tokenizer_class": "LlamaTokenizer", "unk_token": 5}',
            b'{"added_tokens_decoder": {"x": 5}}',
            b'{"add_bos_token": true, "bos_token": "<s>"}',
            b'{"auto_map": {"AutoTokenizer": ["code.Tokenizer", null]}}',
        )
        config = draw(st.one_of(st.sampled_from(configs), documents(b'{"unk_token": "<unk>"}')))
        files["tokenizer_config.json"] = config
        what += f", tokenizer_config.json: {shown(config)}"
    prompt = draw(st.one_of(st.none(), st.sampled_from(PROMPTS)))
    options = () if prompt is None else (f"--prompt={prompt}",)
    return Example(f"{what}, prompt {shown(prompt)}", files, options=options)


# --- baselines -----------------------------------------------------------------------------------


@st.composite
def _edited(draw: st.DrawFn, right: dict[str, Any]) -> bytes:
    """A document with a value anywhere in it replaced."""
    document = json.loads(json.dumps(right))
    at, steps = document, draw(st.integers(0, 3))
    for _ in range(steps):
        inner = [key for key, value in at.items() if isinstance(value, dict)]
        if not inner:
            break
        at = at[draw(st.sampled_from(sorted(inner)))]
    names = [*sorted(at), "another"]
    at[draw(st.sampled_from(names))] = draw(values())
    return json.dumps(document).encode()


def baselines(right: bytes) -> st.SearchStrategy[Contents]:
    """Files of figures: values of any type anywhere in them, or no JSON."""
    edited = _edited(json.loads(right))
    return any_of(edited, edited, documents(right))
