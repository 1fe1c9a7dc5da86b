"""Which files name an operation of TTNN, as functions of a tree of sources."""

import ast
import pathlib
import re

from .house import SOURCE, sources, tree

# Where operations have rows. The words of EVERYDAY mean something else in other rooms: a function
# of the arithmetic, a module of Hugging Face's, a step of a model, a finding that a test made up.
WITH_ROWS = (
    "model",
    "ttnn_emulator/fidelity",
    "ttnn_emulator/ops",
    "ttnn_verify/ops",
    "tests/emulator",
    "tests/faults",
    "tests/locating",
    "tests/ops",
    "tests/properties",
)
WITHOUT_ROWS = "tests/emulator/arithmetic"
# They stand for other people's code, which calls what it likes.
OTHERS_MODELS = ("tests/bringups", "tests/variants")


def operations_called(root: pathlib.Path, folder: str) -> set[str]:
    """Short names of TTNN's functions that a folder calls: "linear" of `ttnn.linear(...)`."""
    return {
        node.func.attr
        for file in sources(root, folder)
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Call) and _is_ttnns(node.func)
    }


def _is_ttnns(node):
    """Whether an expression is an attribute of `ttnn` or of its modules."""
    inner = node
    while isinstance(inner, ast.Attribute):
        inner = inner.value
    return isinstance(node, ast.Attribute) and getattr(inner, "id", None) == "ttnn"


def files_that_name(root: pathlib.Path, operation: str) -> list[str]:
    """Files of source and tests whose code has a word: a name, an attribute, a word of a string.

    Comments and docstrings are no code. Files of `OTHERS_MODELS` are left out.
    """
    files = sources(root, *_those(root, SOURCE), "tests")
    return [
        str(file.relative_to(root))
        for file in files
        if not any(root / folder in file.parents for folder in OTHERS_MODELS)
        and operation in _words(tree(file))
    ]


def files_with_a_row(root: pathlib.Path, operation: str) -> list[str]:
    """Files of `WITH_ROWS` whose tables have an operation: strings and values outside functions.

    A string with the name, short or with TTNN's modules before it, alone or among other words; or
    `ttnn.<operation>` that is handed on and not called. Arguments of decorators are tables too.
    """
    return [
        str(file.relative_to(root))
        for file in sources(root, *_those(root, WITH_ROWS))
        if WITHOUT_ROWS not in str(file.relative_to(root)) and operation in _rows(tree(file))
    ]


def _those(root, folders):
    return [folder for folder in folders if (root / folder).exists()]


def _words(tree):
    bare = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    words = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in bare:
            words.update(re.findall(r"\w+", node.value))
        words.update(
            value
            for field in ("id", "attr", "name", "arg")
            if isinstance(value := getattr(node, field, None), str)
        )
    return words


def _rows(tree):
    names, called = set(), set()
    for node in _outside_functions(tree):
        if isinstance(node, ast.Call):
            called.add(node.func)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.update(word.rpartition(".")[2] for word in node.value.split())
        elif _is_ttnns(node) and node not in called:
            names.add(node.attr)
    return names


def _outside_functions(node):
    """The nodes of a module but docstrings and what stands in functions; callers before callees."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
            continue
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in child.decorator_list:
                yield decorator
                yield from _outside_functions(decorator)
            continue
        yield child
        yield from _outside_functions(child)
