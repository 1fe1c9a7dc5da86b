"""hypothesis strategies for what people hand to a command by mistake: ids, model files, numbers.

- `prompt_ids`: files of token ids
- `model_files`: Python files that should define build_model
- `numbers`: of options, seeds among them

As those of `bad_files`.
"""

import json

from hypothesis import strategies as st

from .examples import FOLDER, Contents, Example, any_of, shown, values

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
    contents = any_of(table, table, lists, st.binary(max_size=32))
    option = "--prompt_ids_file={folder}/checkpoint/ids"
    return contents.map(lambda ids: Example(f"ids {shown(ids)}", {"ids": ids}, options=(option,)))


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
    return any_of(
        sources,
        sources,
        sources,
        others.map(lambda source: Example(f"model file {shown(source)}", model_py=source)),
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
            " ".join(f"--{name}={shown(value)}" for name, value in pairs),
            options=tuple(f"--{name}={value}" for name, value in pairs),
        )
    )
