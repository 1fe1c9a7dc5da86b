"""What is printed of failures: the verdict first and whole at 80 columns, no models or tensors.

Six tests fail in a run, as anyone's would: of the suite, against a model file with a fault, and of
a folder's own tests with the comparisons of this repository.
"""

import re

import pytest

from tests.support.checkpoint import ROOT
from tests.support.suite_run import SuiteRun, small, suite

COLUMNS = 80
LINES = 25  # of the whole output, for each failure

# Twice the weight in one place.
MODEL = """
import copy, sys, torch
sys.path.insert(0, {root!r})
from tests.bringups import batched

def build_model(hf_model, tt_device, max_seq_len):
    hf_model = copy.deepcopy(hf_model)
    with torch.no_grad():
        hf_model.model.layers[1].self_attn.o_proj.weight *= 2
    return batched.build_model(hf_model, tt_device, max_seq_len)
"""

CHECKS = """
import pytest, torch, ttnn
from tests.support import checks
from ttnn_verify.numerics.floors import Floor

@pytest.fixture
def x():
    return torch.randn(2, 32, 64, 64)

@pytest.mark.parametrize("operation", [ttnn.silu, ttnn.add], ids=["silu", "add"])  # TTNN's objects
def test_layer(operation, x):
    if operation is ttnn.add:
        checks.judge("layers.mlp", "layer3-S33", x, 1.2 * x, Floor(1e-3, 2e-3))

@pytest.mark.parametrize("operation", [ttnn.multiply])
def test_left_out(operation):
    pass

def test_moved(x):
    checks.check_equal("layers.embedding", "S5", x, x + 1)

def test_rounded(x, device):
    on_device = ttnn.from_torch(x, ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=device)
    checks.assert_rounded_once(on_device, 1.1 * x.double())
"""

FAILED = {  # test -> the first line of its failure
    "test_value[layer1-attention-o_proj-prefill33]": r"linear \(o_proj\), layer 1, attention: "
    r"(relative L2|worst row \(\d+,\)) \S+ of \S+, \S+ x",
    "test_value[layer1-attention-o_proj-decode]": r"linear \(o_proj\), layer 1, attention: "
    r"(relative L2|worst row \(\d+,\)) \S+ of \S+, \S+ x, the worst of \d+ calls",
    "test_prompt[prefill33]": r"logits, prefill33: (relative L2|worst row \(\d+,\)) \S+ of \S+, "
    r"\S+ x",
    "test_layer[add]": r"layers\.mlp-layer3-S33: relative L2 0\.2 of 0\.002, 100 x",
    "test_moved": r"layers\.embedding-S5: 262144 of 262144 elements differ and none may",
    "test_rounded": r"element \d+: \S+ is off by \S+, one rounding allows \S+, \S+ x",
}


@pytest.fixture(scope="module")
def failing(tmp_path_factory):
    folder = tmp_path_factory.mktemp("failing")
    (folder / "model.py").write_text(MODEL.format(root=str(ROOT)))
    (folder / "test_checks.py").write_text(CHECKS)
    chosen = "layer1-attention-o_proj-prefill33 or layer1-attention-o_proj-decode"
    chosen += " or (test_prompt and prefill33) or test_layer or test_moved or test_rounded"
    arguments = suite(*small(folder, "model.py"), "test_checks.py", "-k", chosen)
    return SuiteRun(folder, *arguments, columns=COLUMNS)


def sections(run):
    """The title of each failure -> its lines."""
    text = run.out.partition("= FAILURES =")[2].partition("= comparisons =")[0]
    _, *parts = re.split(r"^_{3,} (.+) _{3,}$", text, flags=re.MULTILINE)
    return {
        title: lines.strip().splitlines()
        for title, lines in zip(parts[::2], parts[1::2], strict=True)
    }


def summary(run):
    """The id of each failed test -> what the end of the run says of it, its lines joined."""
    text = run.out.partition("= failed =")[2]
    entries = re.findall(r"^FAILED (\S+)( - .+\n|\n(?:  .+\n)+)", text, flags=re.MULTILINE)
    return {nodeid.rpartition("::")[2]: " ".join(says.split()) for nodeid, says in entries}


def test_the_first_line_of_a_failure_is_the_verdict(failing):
    assert failing.status == pytest.ExitCode.TESTS_FAILED, failing.out
    first = {title: lines[0] for title, lines in sections(failing).items()}
    assert first.keys() == FAILED.keys()
    for test, pattern in FAILED.items():
        assert re.fullmatch(pattern, first[test]), first[test]


def test_the_end_of_the_run_has_each_verdict_whole_in_80_columns(failing):
    said = summary(failing)
    assert said.keys() == FAILED.keys()
    for test, pattern in FAILED.items():
        assert re.fullmatch(pattern, said[test].removeprefix("- ")), said[test]
    end = failing.out[failing.out.index("= failed =") :].splitlines()[1:]
    assert max(map(len, end)) <= COLUMNS


def test_a_failure_takes_few_lines_and_prints_no_tensor(failing):
    lines = failing.out.splitlines()
    assert len(lines) <= LINES * len(FAILED), failing.out
    assert max(len(text) for text in sections(failing).values()) <= LINES
    assert "tensor(" not in failing.out
    assert "tests/support/checks.py" not in failing.out, "a helper's frame"
    assert re.search(r"^  at test_checks\.py:\d+, test_moved$", failing.out, re.MULTILINE)


def test_a_run_in_one_process_ends_without_the_leaks_that_nanobind_sees(failing):
    """pytest keeps its session, it keeps the parameters of its tests: two objects of TTNN's."""
    assert "nanobind" not in failing.out + failing.err
    assert failing.err == ""


def test_pytests_own_styles_show_the_stack(tmp_path):
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["ttnn_verify.pytest_plugins.tools"]')
    (tmp_path / "test_checks.py").write_text(CHECKS)
    run = SuiteRun(tmp_path, "-k", "test_moved", "--tb=long", columns=COLUMNS)
    assert run.status == pytest.ExitCode.TESTS_FAILED, run.out
    assert "    def test_moved(x):" in run.out
    assert 'checks.check_equal("layers.embedding", "S5", x, x + 1)' in run.out


def test_an_error_that_is_no_comparison_has_a_short_stack(tmp_path):
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["ttnn_verify.pytest_plugins.tools"]')
    (tmp_path / "test_error.py").write_text(
        "import torch\n\ndef inner(x):\n    return x @ torch.ones(3)\n\n"
        "def test_error(x=torch.ones(64, 64)):\n    inner(x)\n"
    )
    run = SuiteRun(tmp_path, columns=COLUMNS)
    assert "test_error.py:4: in inner" in run.out
    assert "tensor([" not in run.out
    assert len(run.out.splitlines()) <= LINES
    assert re.search(
        r"^FAILED test_error.py::test_error( - |\n  )RuntimeError: size", run.out, re.MULTILINE
    )
