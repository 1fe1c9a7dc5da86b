"""The tests that `make quick` runs: a part of every tier, chosen by rules and not by name.

Of each test module its first test, of the table of ops the first call of each op; where a module is
left out, the reason stands here. `make quick` computes in rounded arithmetic, so that nothing is
compiled first.
"""

import pathlib

import pytest

from .checkpoint import ROOT

TESTS = ROOT / "tests"

ANOTHER_SYSTEM = "another system, which takes a process of its own"

# Files or folders in tests/.
LEFT_OUT = {
    "emulator/arithmetic": "compiles numba code for a minute or two, where it is not in the cache",
    "emulator/test_block_outputs.py": "the same, by kernel arithmetic",
    "emulator/test_kernel_arithmetic.py": "the same",
    "emulator/test_evidence.py": "the same",
    "emulator/test_replay.py": "the same",
    "emulator/test_fidelity.py": "the same",
    "e2e/test_teacher_forcing.py": "a hundred steps of the whole model",
    "e2e/test_batch.py": "four texts written by the whole model",
    "e2e/test_block_weights.py": "a block format is packed as the kernels do, in compiled code",
    "e2e/test_long_rope.py": "prompts of 255 tokens",
    "documentation/test_examples.py": "the suite and drift on a model of their own",
    "documentation/test_outputs.py": "eval, drift and the suite, one after the other",
    "mesh": ANOTHER_SYSTEM,
    "ops/test_comparison_mode.py": "every operation of the whole model twice",
    "bad_input/test_any_input.py": "a hundred and more commands",
    "verify/test_suite.py": "the whole model in processes of its own",
    "verify/test_wheel.py": "builds and installs the package",
    "verify/test_reproducer.py": "the whole model two dozen times",
    "verify/test_drift.py": "the whole model four times; tests/locating has it led once",
}
OF_EACH_OP = "ops/test_ops.py"


def chosen(items: list[pytest.Item]) -> list[pytest.Item]:
    """The items to run, in order; the same on every worker, since all collect the same items."""
    first: dict[object, pytest.Item] = {}
    for item in items:
        first.setdefault(_group(item), item)
    return list(first.values())


def is_left_out(path: pathlib.Path) -> bool:
    """Whether a file or folder need not even be collected."""
    return any(path == TESTS / place for place in LEFT_OUT)


def _group(item):
    """The group of which one test is run: a module, or an op."""
    if item.path == TESTS / OF_EACH_OP:
        return item.path, item.callspec.params["op"].name
    return item.path
