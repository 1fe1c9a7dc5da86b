"""Names that occur once, folders and functions of a size that one can read.

Each rule is tested on the repository and on small trees that violate it.
"""

import functools

import pytest

from tests.ops.table import OPS
from tests.support import house, naming
from tests.support.checkpoint import ROOT

MOST_COMPLEX = 12  # paths through a function of drift, which decides more than all other code
MOST_ARGUMENTS = 8
AS_TTNN_HAS_THEM = ("ttnn_emulator/ops/",)  # functions that mirror the signature of an operation

MOST_FILES = 7  # that name one operation

# Operations whose names are words of torch's or of a model's, or tools of any test: see below.
EVERYDAY = {
    "add",
    "embedding",
    "linear",
    "multiply",
    "reshape",
    "rms_norm",
    "slice",
    "to_memory_config",
    "typecast",
    "zeros",
}


def test_no_file_name_occurs_twice():
    assert house.repeated_file_names(ROOT) == []


def test_no_public_class_name_occurs_twice():
    assert house.repeated_class_names(ROOT) == []


def test_no_folder_of_source_is_crowded():
    assert house.crowded_folders(ROOT) == []


def test_no_function_of_drift_is_complex():
    assert house.complex_functions(ROOT, "ttnn_verify/drift", MOST_COMPLEX) == []


def test_no_function_has_many_arguments():
    assert house.functions_of_many_arguments(ROOT, MOST_ARGUMENTS, AS_TTNN_HAS_THEM) == []


def test_no_module_of_the_tests_imports_a_test_module_or_a_conftest():
    assert house.imports_of_tests(ROOT) == []


def test_the_model_is_made_of_operations_of_the_table():
    """As the calls of a prompt and of a step are, in tests/ops/test_table.py."""
    called = naming.operations_called(ROOT, "model") & OPS.keys()
    assert len(called) > len(EVERYDAY)
    assert called >= EVERYDAY


@pytest.mark.parametrize(
    "operation", sorted(naming.operations_called(ROOT, "model/optimized") & OPS.keys())
)
def test_an_operation_of_the_model_is_named_in_few_files(operation):
    """Of each operation that the optimized stage calls and the table has, the files that name it.

    Both stages together count as one. The functional stage has none but the plain operations, which
    tests everywhere take for their examples.

    A file names it whose code has its name: a call, a row of a table, a string. A word of
    `EVERYDAY` means other things too, and any test may call it to put data in place: of these the
    files count whose tables have a row for it, outside functions, in the rooms where operations
    have rows.
    """
    files = naming.files_with_a_row if operation in EVERYDAY else naming.files_that_name
    named = {"model" if f.startswith("model/") else f for f in files(ROOT, operation)}
    assert named, "its own row is not found"
    assert len(named) <= MOST_FILES, (
        f"{operation} in {len(named)} files: {', '.join(sorted(named))}"
    )


# --- the rules themselves ------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path):
    """Make a tree of sources from {path: text}; returns its root."""
    return functools.partial(house.write_tree, tmp_path)


def test_a_repeated_file_name_is_seen(tree):
    root = tree(
        {
            "tests/ops/placing.py": "",
            "tests/properties/placing.py": "",
            "tests/ops/conftest.py": "",
            "tests/conftest.py": "",
            "model/cache.py": "",
            "ttnn_verify/cache.py": "",  # another package's: no repetition
        }
    )
    assert house.repeated_file_names(root) == [
        "tests/ops/placing.py and tests/properties/placing.py"
    ]


def test_a_repeated_class_name_is_seen(tree):
    root = tree(
        {
            "model/phi3.py": "class Attention: pass\nclass _Step: pass",
            "ttnn_verify/drift/a.py": "class Attention: pass\nclass _Step: pass",
            "tests/x.py": "class Attention: pass",
        }
    )
    assert house.repeated_class_names(root) == ["Attention: model/phi3.py, ttnn_verify/drift/a.py"]


def test_a_crowded_folder_is_seen(tree):
    files = {f"ttnn_verify/drift/m{i}.py": "" for i in range(house.MOST_MODULES)}
    files["ttnn_verify/drift/__init__.py"] = ""
    assert house.crowded_folders(tree(files)) == []
    files["ttnn_verify/drift/one_more.py"] = ""
    assert house.crowded_folders(tree(files)) == ["ttnn_verify/drift: 13 modules"]


def test_a_complex_function_is_seen(tree):
    text = "def f(x):  # noqa: C901\n" + "    if x and x: pass\n" * 6
    root = tree({"ttnn_verify/drift/a.py": text, "ttnn_verify/b.py": text})
    (line,) = house.complex_functions(root, "ttnn_verify/drift", 12)
    assert line == "ttnn_verify/drift/a.py:1 f: complexity 13"
    assert house.complex_functions(root, "ttnn_verify/drift", 13) == []


def test_a_function_of_many_arguments_is_seen(tree):
    text = "def f(a, b, c, d, e, f, g, h, i): pass\n"
    root = tree({"ttnn_emulator/ops/matmul.py": text, "tests/a.py": text})
    (line,) = house.functions_of_many_arguments(root, 8, ("ttnn_emulator/ops/",))
    assert line == "tests/a.py:1 f: 9 arguments"


@pytest.mark.parametrize(
    "text",
    [
        "from .test_ops import bits",
        "from . import test_ops",
        "from ..conftest import CACHE_LENGTH",
        "import tests.ops.test_ops",
        "from tests.ops.test_ops import bits",
    ],
)
def test_an_import_of_a_test_module_is_seen(tree, text):
    root = tree({"tests/ops/test_ops.py": "", "tests/conftest.py": "", "tests/ops/x.py": text})
    assert house.imports_of_tests(root)


def test_an_import_of_a_function_that_is_named_like_a_test_is_none(tree):
    root = tree(
        {"tests/support/sets.py": "", "tests/x.py": "from tests.support.sets import test_set"}
    )
    assert house.imports_of_tests(root) == []


CODE = '''"""turned"""
# turned
def f(x):
    """turned"""
    {}
'''


@pytest.mark.parametrize(
    "line", ["ttnn.turned(x)", "x.turned", 'f("a turned b")', "def turned(): pass", "f(turned=1)"]
)
def test_a_file_that_names_an_operation_is_seen(tree, line):
    root = tree({"model/a.py": CODE.format(line), "tests/b.py": CODE.format("pass")})
    assert naming.files_that_name(root, "turned") == ["model/a.py"]


@pytest.mark.parametrize(
    "line",
    [
        'TABLE = {"turned": 1}',
        'NAMES = "left turned right".split()',
        'ROW = Op("ttnn.turned", call)',
        "CALLS = [ttnn.turned]",
        '@parametrize("name", ["turned"])\ndef test(name): pass',
    ],
)
def test_a_row_of_an_operation_is_seen(tree, line):
    root = tree(
        {
            "tests/ops/a.py": line,
            "tests/ops/b.py": 'def f(x):\n    return ttnn.turned(x, "turned")',
            "tests/ops/c.py": 'X = ttnn.turned(1)\n"""turned"""',
            "tests/verify/d.py": line,
        }
    )
    assert naming.files_with_a_row(root, "turned") == ["tests/ops/a.py"]


def test_calls_of_a_folder_are_seen(tree):
    root = tree(
        {"model/a.py": "ttnn.x.turned(ttnn.left)\nother.right()", "tests/b.py": "ttnn.up()"}
    )
    assert naming.operations_called(root, "model") == {"turned"}
