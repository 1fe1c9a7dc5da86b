"""The tests that `make quick` runs: a part of every tier, chosen by rules and not by name.

Of each test module its first test, of the table of ops the first call of each op; where a module is
left out, the reason stands here. `make quick` computes in rounded arithmetic, so that nothing is
compiled first.
"""

import pathlib

import pytest

from .checkpoint import ROOT

# Paths relative to tests/, files or folders.
LEFT_OUT = {
    "emulator/arithmetic": "compiles numba code for a minute or two, where it is not in the cache",
    "emulator/test_block_outputs.py": "the same, by kernel arithmetic",
    "emulator/test_kernel_arithmetic.py": "the same",
    "emulator/test_evidence.py": "the same",
    "emulator/test_replay.py": "the same",
    "emulator/test_fidelity.py": "the same",
    "e2e/test_teacher_forcing.py": "a hundred steps of the whole model",
    "e2e/test_block_weights.py": "a block format is packed as the kernels do, in compiled code",
    "e2e/test_long_rope.py": "prompts of 255 tokens",
}
OF_EACH_OP = "ops/test_ops.py"


def chosen(items: list[pytest.Item]) -> list[pytest.Item]:
    """The items to run, in their order; the same for every worker, as it collects the same."""
    first: dict[object, pytest.Item] = {}
    for item in items:
        path = item.path.relative_to(ROOT / "tests")
        if not _left_out(path):
            first.setdefault(_group(path, item), item)
    return list(first.values())


def _left_out(path: pathlib.Path) -> bool:
    return any(place in (str(path), *map(str, path.parents)) for place in LEFT_OUT)


def _group(path, item):
    """What one test is taken of: a module, or an op."""
    if str(path) == OF_EACH_OP:
        return path, item.callspec.params["op"].name
    return path
