"""What another process does meanwhile: the same is found, and nothing is lost when it fails."""

import json
import multiprocessing
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.checkpoint import CHECKPOINT, ROOT
from ttnn_verify.drift.running.beside import Beside, Ends, has_room

CONTEXT = multiprocessing.get_context("fork")
SHORT = ["--prompt_tokens", "12", "--max_seq_len", "40", "--arithmetic", "rounded", "--no_reuse"]

# The model of the repository, which does something else in a process beside the first one.
MODEL_PY = """
import multiprocessing, os, pathlib

import ttnn
from model import optimized

def build_model(hf_model, device, max_seq_len, batch=1):
    other = multiprocessing.parent_process() is not None
    with open("built", "a") as file:
        file.write(f"{{other}} {{batch}}\\n")
    if other:
        print("not to be seen")
        {in_the_other}
    return optimized.build_model(hf_model, device, max_seq_len, batch=batch)
"""


@given(st.lists(st.booleans(), max_size=12), st.integers(0, 6))
def test_two_that_take_from_both_ends_get_each_item_once(turns, count):
    items, ends = tuple("abcdef"[:count]), Ends(CONTEXT)
    first, last = ends.first(items), ends.last(items)
    taken = [[], []]
    for turn in [*turns, *[True] * 7]:
        taken[turn] += [item for item in [next(last if turn else first, None)] if item]
    assert (*taken[0], *reversed(taken[1])) == items
    assert ends.taken_last(items) == items[len(taken[0]) :]


class Told(list):
    def begin(self, phase, calls):
        self.append((phase, calls))

    def call(self, number):
        self.append(number)

    def ttnn_call(self):
        self.append("call")


def test_what_the_other_process_finds_and_tells():
    def work(progress, ends):
        progress.begin("far", ["a call"])
        progress.call(0)
        progress.ttnn_call()
        return os.getpid(), list(ends.last("ab"))

    other, told = Beside(work), Told()
    process, taken = other.result(told)
    other.stop()
    assert process != os.getpid()
    assert taken == ["b", "a"]
    assert list(other.ends.first("ab")) == []
    assert told == [("far", ["a call"]), 0, "call"]


@pytest.mark.parametrize(
    "end", [lambda: 1 / 0, lambda: os._exit(0), lambda: os.kill(os.getpid(), 9)]
)
def test_a_process_that_fails_finds_nothing(end, capfd):
    other = Beside(lambda progress, ends: end())
    assert other.result(None) is None
    other.stop()
    assert capfd.readouterr() == ("", "")


def drift(folder, in_the_other, *args):
    """(status, output, record, builds) of the command in a process of its own."""
    if not has_room(10**8):
        pytest.skip("no core or no memory for a second process")
    folder.mkdir()
    (folder / "bringup.py").write_text(MODEL_PY.format(in_the_other=in_the_other))
    command = "-m", "ttnn_verify.drift", "bringup.py", "--model", CHECKPOINT, "--json", "found.json"
    run = subprocess.run(
        [sys.executable, *map(str, command), *SHORT, *args],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert run.stderr == ""
    record = json.loads((folder / "found.json").read_text())
    return run.returncode, run.stdout, record, (folder / "built").read_text().split("\n")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What is found where the other process fails at once, and the first one does all."""
    return drift(tmp_path_factory.mktemp("alone") / "run", "os._exit(1)")


def test_what_a_failed_process_left_is_done_by_the_first(alone):
    status, out, _, built = alone
    assert status == 0
    assert out.endswith("no drift: every operation is as far off as its arithmetic explains.\n")
    assert "left out" not in out
    assert "True 2" in built
    assert built.count("False 2") == 2  # for what it takes, and for what the other one has taken


def test_two_processes_find_what_one_finds(alone, tmp_path):
    status, out, record, built = drift(tmp_path / "run", "pass")
    assert (status, out) == alone[:2]
    assert "True 2" in built
    for one in (record, alone[2]):
        one.pop("made", None)
    assert record == alone[2]


def test_the_first_bad_operation_needs_no_other_process(tmp_path):
    """The other one, which would wait for an hour, is ended."""
    waits = "import time; time.sleep(3600)"
    wrong = "ttnn.rms_norm = lambda x, *args, **kwargs: x"
    status, out, *_ = drift(tmp_path / "run", f"{waits}\n    {wrong}", "--first")
    assert status == 1
    assert "norm" in out
