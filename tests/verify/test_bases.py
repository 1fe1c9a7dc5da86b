"""What a run says of its operations: followed step by step, or approximate and how."""

import pathlib

import pytest

from ttnn_emulator.evidence import Evidence
from ttnn_verify import backend
from ttnn_verify.report import bases

pytest_plugins = ["pytester"]

FOLLOWED = Evidence("ttnn.add", "bf16, bf16 -> bf16", "recorded")
WINDOW = "a window of decode attention in float32"
SHARDED = "sharded as if interleaved"
ONE_STEP = Evidence("ttnn.rms_norm", f"bf16 -> bf16; {SHARDED}", "approximate")
TWO_STEPS = Evidence("ttnn.attention", f"bf16 -> bf16; {SHARDED}; {WINDOW}", "approximate")

RAN = """
import ttnn

def test_random(device):
    ttnn.rand([32, 32], device)

def test_copies(device):
    ttnn.clone(ttnn.zeros([32, 32], device=device))
"""


def test_an_approximate_operation_is_named_with_what_is_computed_in_its_place():
    assert bases.approximate([FOLLOWED, ONE_STEP, TWO_STEPS]) == {
        "attention": f"{WINDOW}; {SHARDED}",
        "rms_norm": SHARDED,
    }
    assert bases.line(3, bases.approximate([FOLLOWED, ONE_STEP])) == (
        "2 operations by the kernel's steps, 1 approximate: rms_norm (sharded as if interleaved)"
    )


def test_of_many_approximate_operations_a_line_has_the_names_alone():
    names = [f"op{i}" for i in range(bases.MOST_TOLD + 1)]
    line = bases.line(10, dict.fromkeys(names, SHARDED))
    assert line == (
        f"3 operations by the kernel's steps, 7 approximate: {', '.join(names)} "
        "(python -m ttnn_emulator.coverage says how)"
    )


def test_followed_operations_are_said_to_be_followed():
    assert bases.line(1, {}) == "1 operation by the kernel's steps, none approximate"
    assert bases.line(0, {}) == ""


def test_the_rounded_arithmetic_and_other_devices_are_told_apart():
    assert bases.of_run("emulated", "rounded") == bases.ROUNDED
    assert bases.of_run("silicon", None) == ""


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "two workers"])
def test_a_run_of_tests_names_its_approximate_operations_at_the_end(workers, pytester, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(pathlib.Path(backend.__file__).parents[1]))
    pytester.makeconftest('pytest_plugins = ["ttnn_verify.pytest_plugins.device"]')
    pytester.makepyfile(RAN)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--backend=emulated", *workers)
    rand = "rand (random numbers of torch, not the device's)"
    result.stdout.fnmatch_lines(
        [f"emulated: 2 operations by the kernel's steps, 1 approximate: {rand}"]
    )
