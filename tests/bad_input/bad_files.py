"""hypothesis strategies for what people hand to a command by mistake: files and options.

- `configurations`: config.json
- `weights`: safetensors, alone or in shards
- `tokenizers`: tokenizer.json and tokenizer_config.json
- `prompt_ids`: files of token ids
- `model_files`: Python files that should define build_model
- `numbers`: of options, seeds among them
- `baselines`: files of --pcc-record

Each draws an `Example`: files that stand in for those of a right input, which is left as it is
elsewhere, and options of the command line. What is drawn need not be wrong. Tables of values that
did harm come first, so that examples shrink to them; bytes and JSON of any kind follow.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

import safetensors.torch
import torch
from hypothesis import strategies as st

FOLDER = object()  # stands in for a file's contents: a folder of that name

Contents = bytes | None | object  # None: no such file


@dataclasses.dataclass(frozen=True)
class Example:
    """A wrong input, perhaps.

    Attributes:
        what: is wrong, in words, for the output of a failing test.
        files: name in the checkpoint's folder -> contents, instead of those that are right.
        model_py: the model file's source; None for the right one.
        options: at the end of the command line.
    """

    what: str
    files: Mapping[str, Contents] = dataclasses.field(default_factory=dict)
    model_py: Contents = None
    options: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<{self.what}>"


# --- values --------------------------------------------------------------------------------------

INTEGERS = (0, -1, 1, 2, 3, 33, 64, 65, 128, 10**6, 2**31, 2**63, 10**26, 10**400)
FLOATS = (0.0, -1.0, 0.5, 1e-45, 1e300, float("nan"), float("inf"), -float("inf"))
TEXTS = ("", "many", "64", "None", "\x00", "\ud7ff", "../..", "9" * 40, "phi3", "cuda")


def _any_of(*strategies: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """One of the strategies, each as often as it is named: st.one_of counts their own parts."""
    return st.sampled_from(strategies).flatmap(lambda strategy: strategy)


def values() -> st.SearchStrategy[Any]:
    """JSON values: those of the tables, and lists and objects of them."""
    plain = st.one_of(
        st.none(),
        st.booleans(),
        st.sampled_from(INTEGERS),
        st.sampled_from(FLOATS),
        st.sampled_from(TEXTS),
    )
    several = st.lists(plain, max_size=3)
    named = st.dictionaries(st.sampled_from(("rope_type", "type", "factor", "x")), plain)
    return st.one_of(plain, several, named, st.lists(several, max_size=2))


def documents(right: bytes) -> st.SearchStrategy[Contents]:
    """What may lie where a JSON document should: none, half of one, another encoding, garbage."""
    text = right.decode()
    table = (
        None,
        FOLDER,
        b"",
        b"{",
        b"{}",
        b"[]",
        b"null",
        b"5",
        b'"x"',
        b"not json",
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"\xef\xbb\xbf" + right,
        text.encode("utf-16"),
        text.encode("latin-1") + b"\xff",
        right + right,
        right[: len(right) // 2],
        b"\x00" * 64,
        right.replace(b"64", b"9" * 5000),
    )
    cut = st.integers(0, len(right)).map(lambda size: right[:size])
    return st.one_of(st.sampled_from(table), cut, st.binary(max_size=64))


def _shown(contents: Contents) -> str:
    if contents is FOLDER:
        return "a folder"
    shown = repr(contents)
    return shown if len(shown) < 80 else f"{shown[:80]}... ({len(shown)} characters)"


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
            changes.append(f"{name}: {_shown(value)}")
    return Example(", ".join(changes), {"config.json": json.dumps(config).encode()})


def configurations(right: bytes) -> st.SearchStrategy[Example]:
    """config.json: fields of any type and size, other architectures, or no JSON at all."""
    whole = documents(right).map(
        lambda contents: Example(f"config.json: {_shown(contents)}", {"config.json": contents})
    )
    changed = _changed(json.loads(right))
    return _any_of(changed, changed, changed, whole)


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
        return Example(f"weights: {_shown(contents)}", {"model.safetensors": contents})

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
    return _any_of(named, named, other, cut.map(of), shards(sorted(tensors)))


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
            f"index {_shown(document)}",
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
    what = f"tokenizer.json: {_shown(contents)}"
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
        what += f", tokenizer_config.json: {_shown(config)}"
    prompt = draw(st.one_of(st.none(), st.sampled_from(PROMPTS)))
    options = () if prompt is None else (f"--prompt={prompt}",)
    return Example(f"{what}, prompt {_shown(prompt)}", files, options=options)


# --- prompts of token ids ------------------------------------------------------------------------

IDS = (
    b"5 " + b"9" * 40,
    b"5 " + b"9" * 5000,
    b"-1",
    b"64",
    b"5 --6",
    b"-",
    b"",
    b" \n",
    b"[]",
    b"[[]]",
    b"[[5], [6]]",
    b"[[[5, 6]]]",
    b"[5, [6]]",
    b"[true, false]",
    b"[5.0, 6.5]",
    b"[1e400]",
    b"NaN",
    b"Infinity",
    b"null",
    b'{"ids": [5, 6]}',
    b'"5 6"',
    b"[" * 100_000,
    b"\xef\xbb\xbf5 6 7",
    b"\xff\xfe5\x006\x00",
    b"5\x006",
    "٣ ٤".encode(),
    "²".encode(),
    b"5;6",
    b"5 6 7",
    b"5 " * 63,
    b"5 " * 64,
    b"5 " * 100_000,
)


def prompt_ids() -> st.SearchStrategy[Example]:
    """Files for --prompt_ids_file: other forms, numbers of any length, other encodings."""
    lists = st.lists(values(), max_size=4).map(lambda ids: json.dumps(ids).encode())
    table = st.sampled_from((*IDS, FOLDER, None))
    contents = _any_of(table, table, lists, st.binary(max_size=32))
    option = "--prompt_ids_file={folder}/checkpoint/ids"
    return contents.map(lambda ids: Example(f"ids {_shown(ids)}", {"ids": ids}, options=(option,)))


# --- model files ---------------------------------------------------------------------------------

RAISED = (
    "ValueError('first line\\nsecond line')",
    "RuntimeError()",
    "RuntimeError('x' * 100_000)",
    "KeyError('x')",
    "StopIteration()",
    "MemoryError()",
    "RecursionError('deep')",
    "AssertionError()",
    "UnicodeDecodeError('utf-8', b'x', 0, 1, 'no')",
    "SystemExit()",
    "SystemExit(0)",
    "SystemExit('bye')",
    "GeneratorExit()",
    "type('Own', (BaseException,), {})('own')",
    "type('Own', (KeyboardInterrupt,), {})('own')",
    "type('Own', (Exception,), {'__str__': lambda self: 1 / 0})()",
    "type('Own', (Exception,), {'__str__': lambda self: None})()",
    "type('Own', (OSError,), {'__repr__': None})(5, 'five')",
)

# What build_model may return; `Output` is what a right model returns, `V` the vocabulary.
BUILT = (
    "None",
    "5",
    "'model'",
    "()",
    "(model, model)",
    "[]",
    "hf_model",
    "dict",
    "print",
    "lambda: None",
    "lambda ids: Output(torch.zeros(1, 1, V))",
    "lambda *args, **kwargs: None",
    "type('Model', (), {'__call__': model, 'max_length': 'long'})()",
    "type('Model', (), {'max_length': -1, '__call__': lambda self, **kw: model(**kw)})()",
    "type('Model', (), {'max_length': None, '__call__': lambda self, **kw: model(**kw)})()",
    "type('Model', (), {'__getattr__': lambda self, name: 1 / 0, '__call__': model})()",
    "build_model",
)

# What the model may return.
RETURNED = (
    "None",
    "5",
    "()",
    "(torch.zeros(1, S, V), 1)",
    "torch.zeros(1, S, V)",
    "{'logits': torch.zeros(1, S, V), 'past_key_values': 1}",
    "Output(None)",
    "Output([[[0.0] * V]])",
    "Output(torch.zeros(1, S, V).numpy())",
    "Output(torch.zeros(1, S, V), past_key_values=None)",
    "Output(torch.zeros(1, S, V + 1))",
    "Output(torch.zeros(1, S, V - 1))",
    "Output(torch.zeros(1, S, 0))",
    "Output(torch.zeros(1, S + 1, V))",
    "Output(torch.zeros(2, S, V))",
    "Output(torch.zeros(S, V))",
    "Output(torch.zeros(V))",
    "Output(torch.zeros(()))",
    "Output(torch.zeros(1, S, V, dtype=torch.int64))",
    "Output(torch.zeros(1, S, V, dtype=torch.bool))",
    "Output(torch.zeros(1, S, V, dtype=torch.complex64))",
    "Output(torch.zeros(1, S, V, dtype=torch.float64))",
    "Output(torch.zeros(1, S, V, dtype=torch.float8_e4m3fn))",
    "Output(torch.zeros(1, S, V, device='meta'))",
    "Output(torch.zeros(1, S, V).to_sparse())",
    "Output(torch.zeros(1, S, V, requires_grad=True))",
    "Output(torch.full((1, S, V), float('nan')))",
    "Output(torch.full((1, S, V), float('inf')))",
    "Output(torch.full((1, S, V), -float('inf')))",
    "Output(torch.full((1, S, V), 1e38))",
    "Output(torch.zeros(1, S, V))",
    "Output(torch.zeros(1, 1, V))",
)

PLACES = ("import", "check", "build", "call")

SOURCE = """
import types

import torch

{at_import}

def check_config(config):
    {at_check}

def build_model(hf_model, tt_device, max_seq_len):
    V = hf_model.config.vocab_size

    def Output(logits, past_key_values=1):
        return types.SimpleNamespace(logits=logits, past_key_values=past_key_values)

    def model(input_ids, past_key_values=None, use_cache=True):
        S = input_ids.shape[1]
        {at_call}
        return {returned}

    {at_build}
    return {built}
"""

NOT_MODELS: tuple[Contents, ...] = (
    FOLDER,
    b"",
    b"build_model = 5",
    b"build_model = None",
    b"def build_model(): pass",
    b"def build_model(*, x): pass",
    b"async def build_model(hf_model, tt_device, max_seq_len): pass",
    b"def build_model(hf_model, tt_device, max_seq_len): yield 5",
    b"class build_model: pass",
    b"def build_model(:",
    b"\x00",
    b"\xff\xfe",
    b"# -*- coding: nonsense -*-\n",
    b"# -*- coding: utf-7 -*-\n+AGE-",
    b"\xef\xbb\xbfbuild_model = 5",
    b"x = '\xe9'",
    b"x = " + b"(" * 1000 + b")" * 1000,
    b"x = " + b"-" * 100_000 + b"1",
    b"import no_such_module",
    b"from . import something",
    b"raise",
    b"import sys; sys.modules[__name__] = None; del sys.modules[__name__]",
    b"1 / 0",
    b"Once upon a time",
    b"{" * 50,
)


@st.composite
def _sources(draw: st.DrawFn) -> Example:
    """A model file that raises somewhere, or returns something else."""
    built, returned = "model", "Output(torch.zeros(1, S, V))"
    at = dict.fromkeys((f"at_{place}" for place in PLACES), "pass")
    what = draw(st.sampled_from(("built", "returned", "returned", "raised")))
    if what == "built":
        built = draw(st.sampled_from(BUILT))
        shown = f"build_model returns {built}"
    elif what == "returned":
        returned = draw(st.sampled_from(RETURNED))
        shown = f"the model returns {returned}"
    else:
        place, error = draw(st.sampled_from(PLACES)), draw(st.sampled_from(RAISED))
        at[f"at_{place}"] = f"raise {error}"
        shown = f"{place} raises {error}"
    return Example(shown, model_py=SOURCE.format(built=built, returned=returned, **at).encode())


def model_files() -> st.SearchStrategy[Example]:
    """Model files that are no Python, raise anything, or make something else than a model."""
    others = st.one_of(st.sampled_from(NOT_MODELS), st.binary(max_size=32))
    sources = _sources()
    return _any_of(
        sources,
        sources,
        sources,
        others.map(lambda source: Example(f"model file {_shown(source)}", model_py=source)),
    )


# --- options -------------------------------------------------------------------------------------

NUMBERS = (
    "0",
    "-1",
    "1",
    "2",
    "63",
    "64",
    "65",
    "1" + "0" * 26,
    "-1" + "0" * 26,
    str(2**63),
    str(2**64),
    str(-(2**63) - 1),
    "9" * 5000,
    "1.5",
    "1e3",
    "nan",
    "inf",
    "",
    " 5",
    "0x10",
    "5_0",
    "٣",
    "²",
    "many",
)


def numbers(names: tuple[str, ...]) -> st.SearchStrategy[Example]:
    """Options that are numbers: none, of any size, not finite, in other digits."""
    one = st.tuples(st.sampled_from(names), st.sampled_from(NUMBERS))
    several = st.lists(one, min_size=1, max_size=2, unique_by=lambda pair: pair[0])
    return several.map(
        lambda pairs: Example(
            " ".join(f"--{name}={_shown(value)}" for name, value in pairs),
            options=tuple(f"--{name}={value}" for name, value in pairs),
        )
    )


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
    return _any_of(edited, edited, documents(right))
