"""Who may import whom, and read whose files.

tests -> ttnn_verify -> ttnn_emulator; model -> ttnn alone.

Each rule is tested on the repository and on small trees that violate it.
"""

import functools

import pytest

from tests.support import house
from tests.support.checkpoint import ROOT


def test_every_top_level_folder_has_its_rule():
    assert house.unknown_folders(ROOT) == []


@pytest.mark.parametrize("folder", [*house.FOREIGN, *house.APART, *house.SOURCE, "tests"])
def test_a_rule_has_something_to_check(folder):
    assert house.sources(ROOT, folder)


def test_arrows_go_one_way():
    assert house.wrong_arrows(ROOT) == []


def test_arithmetic_imports_neither_ttnn_nor_transformers():
    assert house.foreign_imports(ROOT) == []


def test_arithmetic_imports_nothing_else_of_the_emulator():
    assert house.imports_of_neighbours(ROOT) == []


def test_no_package_reads_files_of_the_tests():
    assert house.data_of_tests(ROOT) == []


def test_files_are_written_as_a_whole():
    assert house.plain_writes(ROOT) == []


def test_what_may_write_by_itself_does():
    for file in house.WRITES_ITSELF:
        assert house._plain_writes(house.tree(ROOT / file)), f"{file} needs no exception"


# --- the rules themselves ------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path):
    """Make a tree of sources from {path: text}; returns its root."""
    return functools.partial(house.write_tree, tmp_path)


ARROWS = {
    "emulator-verify": ("ttnn_emulator/device.py", "import ttnn_verify.baseline"),
    "emulator-model": ("ttnn_emulator/ops/matmul.py", "from model.optimized.phi3 import Phi3"),
    "emulator-tests": ("ttnn_emulator/__init__.py", "from tests.support import tensors"),
    "verify-model": ("ttnn_verify/drift/__init__.py", "from model import build_model"),
    "verify-benchmarks": ("ttnn_verify/numerics/metrics.py", "from benchmarks import phi3_mini"),
    "verify-eval": ("ttnn_verify/report/page.py", "import eval as evaluation"),
    "verify-tests": ("ttnn_verify/baseline.py", "import tests"),
    "model-verify": ("model/phi3.py", "from ttnn_verify.numerics import metrics"),
    "model-emulator": ("model/phi3.py", "import ttnn_emulator"),
    "model-benchmarks": ("model/rope.py", "from benchmarks import phi3_mini"),
    "model-bring-ups": ("model/rope.py", "import models"),
    "eval-model": ("eval.py", "from model import build_model"),
    "tests-benchmarks": ("tests/layers/conftest.py", "from benchmarks import phi3_mini"),
    "within-a-function": ("model/phi3.py", "def f():\n    import ttnn_emulator"),
    "by-relative-import": ("model/deep/phi3.py", "from ...ttnn_emulator import device"),
    "by-import-module": ("model/phi3.py", "importlib.import_module('ttnn_verify.baseline')"),
    "as-plugins": ("ttnn_verify/plugin.py", "pytest_plugins = ['tests.properties.profiles']"),
}


@pytest.mark.parametrize(("path", "text"), ARROWS.values(), ids=ARROWS)
def test_an_arrow_the_wrong_way_is_seen(tree, path, text):
    (sentence,) = house.wrong_arrows(tree({path: text}))
    assert sentence.startswith(f"{path} imports ")


def test_right_arrows_pass(tree):
    root = tree(
        {
            "ttnn_emulator/ops/matmul.py": "from ..arithmetic import formats\nimport ttnn",
            "ttnn_verify/backend.py": "import ttnn_emulator",
            "model/phi3.py": "from .weights import DeviceWeights\nimport modelling, models_of_ours",
            "tests/e2e/test_model.py": "from model import build_model\nimport ttnn_verify",
            "conftest.py": "pytest_plugins = ['tests.properties.profiles']",
        }
    )
    assert house.wrong_arrows(root) == []


def test_a_new_folder_and_a_new_script_are_seen(tree):
    root = tree({"tools/run.py": "", "main.py": "", "assets/prompt.py": "", ".ci/run.py": ""})
    assert house.unknown_folders(root) == [
        "main.py: who may import it?",
        "tools: who may import it?",
        "assets/prompt.py: code",
    ]


def test_what_git_ignores_is_no_folder(tree):
    root = tree({".gitignore": "/build/\n*.egg-info/\n", "build/x.py": "", "x.egg-info/y": ""})
    assert house.unknown_folders(root) == []


@pytest.mark.parametrize(
    "text", ["import ttnn", "from ttnn.decorators import Operation", "import transformers"]
)
def test_arithmetic_that_knows_ttnn_is_seen(tree, text):
    assert house.foreign_imports(tree({"ttnn_emulator/arithmetic/exact/x.py": text}))


@pytest.mark.parametrize(
    "text",
    [
        "from ...memory import trimmed",
        "from ... import memory",
        "import ttnn_emulator",
        "from ttnn_emulator.memory import trimmed",
        "from ttnn_emulator import memory",
    ],
)
def test_arithmetic_that_knows_the_emulator_is_seen(tree, text):
    assert house.imports_of_neighbours(tree({"ttnn_emulator/arithmetic/exact/x.py": text}))


def test_arithmetic_may_import_its_own(tree):
    text = "from .packer import packed\nfrom .. import formats\nfrom ..formats import TILE\n"
    text += "import ttnn_emulator.arithmetic.compute\nimport torch, ttnn_like\n"
    root = tree({"ttnn_emulator/arithmetic/exact/x.py": text})
    assert house.imports_of_neighbours(root) == house.foreign_imports(root) == []


@pytest.mark.parametrize(
    "text",
    [
        "GOLDENS = pathlib.Path(__file__).parents[2] / 'tests/emulator/goldens'",
        "GOLDENS = ROOT / 'tests' / 'goldens'",
        "GOLDENS = ROOT.joinpath('tests', 'goldens')",
        "GOLDENS = os.path.join(root, 'tests', 'goldens')",
        "GOLDENS = Path('tests')",
        "open(f'{root}/tests/goldens/index.json')",
    ],
)
@pytest.mark.parametrize("package", house.SOURCE)
def test_data_read_out_of_tests_is_seen(tree, package, text):
    assert house.data_of_tests(tree({f"{package}/recordings.py": text}))


def test_prose_about_tests_is_no_data(tree):
    text = '"""As tests/verify says."""\n\n\ndef contests():\n    """Of tests/ops."""\n'
    assert house.data_of_tests(tree({"model/x.py": text + "    return 'contests/a'\n"})) == []


@pytest.mark.parametrize(
    "text",
    [
        "path.write_text('x')",
        "file = open(path, 'w')",
        "with path.open('ab') as file: pass",
        "open(path, mode='r+')",
        "os.fdopen(descriptor, 'w')",
        "os.replace(a, b)",
        "json.dump(x, file)",
        "safetensors.torch.save_file(x, path)",
    ],
)
def test_a_file_that_is_written_in_parts_is_seen(tree, text):
    (sentence,) = house.plain_writes(tree({"ttnn_verify/a.py": text}))
    assert sentence.startswith("ttnn_verify/a.py:1 calls ")


@pytest.mark.parametrize(
    "text",
    [
        "atomic.write_text(path, x)",
        "atomic.write(path, lambda file: save_file(x, file))",
        "open(path)",
        "path.open('rb')",
        "text.replace('a', 'w')",
    ],
)
def test_a_file_that_is_read_or_replaced_as_a_whole_is_right(tree, text):
    assert house.plain_writes(tree({"ttnn_verify/a.py": text, "tests/b.py": "open(p, 'w')"})) == []
