"""Commands and sessions that a signal ends: in order, with one line, with the status that says so.

Each is sent its signal at a place where it has said that it is there, and is waiting.
"""

import importlib.metadata
import json
import os
import pathlib
import select
import signal
import subprocess
import sys
import threading

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.support.checkpoint import ROOT
from ttnn_emulator.machine import toolchain
from ttnn_verify import ending

WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}
signals = pytest.mark.parametrize("number", list(WORDS), ids=lambda number: number.name)


# A shell that starts a run of tests in the background has them ignore SIGINT.
NOT_IGNORING = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def started(command, folder, **environment):
    """A process in `folder`, which also has its temporary files and what it keeps."""
    for name in ("temporary", "kept"):
        (folder / name).mkdir(exist_ok=True)
    own = {"TMPDIR": folder / "temporary", "PHI3_GOLDENS": folder / "kept", "PYTHONPATH": ROOT}
    return subprocess.Popen(
        [sys.executable, "-c", NOT_IGNORING, *map(str, command)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=os.environ | {name: str(value) for name, value in (own | environment).items()},
    )


def ended(process, number):
    """(status, output, errors) of a process that has said "now" and reads from stdin."""
    said = process.stdout.readline()
    assert said == "now\n", said + process.communicate()[1]
    process.send_signal(number)
    # the end of stdin: what had arrived before the process began to wait is noticed then
    out, err = process.communicate()
    return process.returncode, out, err


# --- a main function -----------------------------------------------------------------------------

MAIN = """
import sys
from ttnn_verify import ending

@ending.one_line
def main(argv):
    try:
        print("now", flush=True)
        {waiting}
    finally:
        {cleaning}
    return 1

sys.exit(main(None))
"""


@signals
@pytest.mark.parametrize(
    "cleaning", ["print('cleaned')", "print('cleaned'); raise ValueError('cannot clean up')"]
)
def test_a_command_cleans_up_and_ends_in_one_line(number, cleaning, tmp_path):
    code = MAIN.format(waiting="sys.stdin.read()", cleaning=cleaning)
    result = ended(started(["-c", code], tmp_path), number)
    assert result == (STATUS[number], "cleaned\n", f"{WORDS[number]}\n")


@signals
def test_what_an_author_catches_does_not_stop_it(number, tmp_path):
    waiting = """
        try: sys.stdin.read()
        except Exception: pass
    """
    code = MAIN.format(waiting=waiting.strip(), cleaning="print('cleaned')")
    result = ended(started(["-c", code], tmp_path), number)
    assert result == (STATUS[number], "cleaned\n", f"{WORDS[number]}\n")


def test_a_second_signal_ends_at_once(tmp_path):
    cleaning = "print('cleaning', flush=True); sys.stdin.read(); print('cleaned')"
    code = MAIN.format(waiting="sys.stdin.read()", cleaning=cleaning)
    process = started(["-c", code], tmp_path)
    assert process.stdout.readline() == "now\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "cleaning\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 130
    assert process.communicate() == ("", "")


def test_an_ignored_signal_stays_ignored(tmp_path):
    """As of a command that `nohup` or a script's background has started."""
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + MAIN.format(
        waiting="sys.stdin.read()", cleaning="print('cleaned')"
    )
    assert ended(started(["-c", code], tmp_path), signal.SIGINT) == (1, "cleaned\n", "")


def test_a_command_leaves_the_handlers_as_they_were():
    before = {number: signal.getsignal(number) for number in WORDS}
    seen = []
    assert ending.one_line(lambda argv: seen.append(signal.getsignal(signal.SIGTERM)) or 7)() == 7
    assert seen[0] != before[signal.SIGTERM]
    assert {number: signal.getsignal(number) for number in WORDS} == before


def test_in_another_thread_a_command_runs_too():
    results = []
    thread = threading.Thread(target=lambda: results.append(ending.one_line(lambda argv: 7)()))
    thread.start()
    thread.join()
    assert results == [7]


def test_an_error_without_a_signal_is_an_error():
    def main(argv):
        raise KeyError("x")

    with pytest.raises(KeyError):
        ending.one_line(main)()


def test_who_leaves_has_said_all_and_has_done_what_is_registered():
    code = (
        "import atexit; from ttnn_verify import ending; print('said')\n"
        "atexit.register(print, 'done'); ending.leave(3)"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (3, "said\ndone\n", "")


# --- eval and drift ------------------------------------------------------------------------------

# The head on the device, the rest in Hugging Face; it waits where WAITS says.
MODEL = """
import os, sys, types
import ttnn

close_device = ttnn.close_device

def closed(device):
    close_device(device)
    print("closed", flush=True)

ttnn.close_device = closed

def wait(where):
    if os.environ.get("WAITS") == where:
        print("now", flush=True)
        sys.stdin.read()

def build_model(hf_model, tt_device, max_seq_len):
    def on_device(tensor):
        return ttnn.from_torch(
            tensor, dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT, device=tt_device
        )

    weight = on_device(hf_model.lm_head.weight.T)
    wait("load")

    def model(input_ids, past_key_values=None, use_cache=True):
        wait("prefill" if past_key_values is None else "decode")
        out = hf_model.model(input_ids, past_key_values=past_key_values, use_cache=True)
        logits = ttnn.to_torch(ttnn.linear(on_device(out.last_hidden_state), weight))
        return types.SimpleNamespace(logits=logits, past_key_values=out.past_key_values)

    return model
"""


@pytest.fixture(scope="module")
def bringup(tmp_path_factory):
    """The arguments that name a model file, a small checkpoint and a prompt of ids."""
    folder = tmp_path_factory.mktemp("bringup")
    (folder / "model.py").write_text(MODEL)
    (folder / "ids").write_text("5 6 7 8 9 10 11")
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder / "checkpoint")
    options = ["--model", folder / "checkpoint", "--prompt_ids_file", folder / "ids"]
    return [folder / "model.py", *options, "--max_seq_len", "64", "--arithmetic", "rounded"]


def nothing_is_left(folder):
    """Neither in the current folder, nor of the device's temporary files."""
    names = {path.name for path in (folder / "temporary").iterdir()}
    assert not [name for name in names if name.startswith(toolchain.PREFIX)]
    assert {path.name for path in folder.iterdir()} == {"kept", "temporary"}


@pytest.mark.parametrize(
    ("where", "number"),
    [("load", signal.SIGTERM), ("prefill", signal.SIGINT), ("decode", signal.SIGTERM)],
)
def test_eval_ends_in_order(where, number, bringup, tmp_path):
    command = [ROOT / "eval.py", *bringup, "--max_new_tokens", "3"]
    result = ended(started(command, tmp_path, WAITS=where), number)
    assert result == (STATUS[number], "closed\n", f"{WORDS[number]}\n")
    nothing_is_left(tmp_path)


@pytest.mark.parametrize(("where", "number"), [("load", signal.SIGINT), ("decode", signal.SIGTERM)])
def test_drift_ends_in_order_and_the_next_run_is_fine(where, number, bringup, tmp_path):
    pages = ["--json", "drift.json", "--html", "drift.html"]
    command = ["-m", "ttnn_verify.drift", *bringup, *pages]
    result = ended(started(command, tmp_path, WAITS=where), number)
    assert result == (STATUS[number], "closed\n", f"{WORDS[number]}\n")
    nothing_is_left(tmp_path)
    process = started(command, tmp_path)
    out, err = process.communicate()
    assert process.returncode in (0, 1), out + err  # of random weights, either may be
    assert json.loads((tmp_path / "drift.json").read_text())
    assert "</html>" in (tmp_path / "drift.html").read_text()


@signals
@pytest.mark.parametrize(
    "command",
    [
        (ROOT / "eval.py",),
        (ROOT / "scripts" / "run_eval.py",),
        ("-m", "ttnn_verify.drift"),
        ("-m", "ttnn_verify.eval_command"),
    ],
    ids=lambda command: pathlib.Path(command[-1]).name,
)
def test_a_command_is_ended_while_it_imports(number, command, tmp_path):
    """What is slow to import, torch here, is imported where a signal gives a line."""
    code = "import sys; print('now', flush=True); sys.stdin.read()"
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "torch.py").write_text(code)
    paths = os.pathsep.join((str(tmp_path / "modules"), str(ROOT)))
    result = ended(started(command, tmp_path, PYTHONPATH=paths), number)
    assert result == (STATUS[number], "", f"{WORDS[number]}\n")


def test_importing_the_package_changes_no_handler(tmp_path):
    """Not even in another's command that Python imports for `-m`."""
    (tmp_path / "theirs").mkdir()
    code = "import signal, ttnn_verify; print(signal.getsignal(signal.SIGTERM).name)"
    (tmp_path / "theirs" / "__init__.py").write_text(code)
    (tmp_path / "theirs" / "__main__.py").write_text("")
    process = started(["-m", "theirs"], tmp_path)
    assert process.communicate() == ("SIG_DFL\n", "")


# --- pytest --------------------------------------------------------------------------------------

CONFTEST = """
import contextlib, os
from ttnn_verify import backend

pytest_plugins = ["ttnn_verify.pytest_plugins.tools"]

def log(word):
    with open("log", "a") as file:
        file.write(f"{word}\\n")

@contextlib.contextmanager
def open_device(name, device_id=0, arithmetic=None, system=None, mesh=None):
    log("open")
    try:
        yield "device"
    finally:
        log("close")

backend.open_device = open_device
"""

TESTS = """
import os, pytest

@pytest.mark.parametrize("n", range(4))
def test_one(device, n):
    if n or os.environ.get("PYTEST_XDIST_WORKER"):
        with open("said", "w") as said, open("told") as told:
            said.write("now\\n")
            said.flush()
            told.read(1)
"""

COLLECTING = """
with open("said", "w") as said, open("told") as told:
    said.write("now\\\\n")
    said.flush()
    told.read(1)
"""


@pytest.fixture
def session(tmp_path, monkeypatch):
    """Run pytest on such tests, and end it by a signal. Returns (status, output, errors)."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # of the worker that runs this test
    for name in ("said", "told"):
        os.mkfifo(tmp_path / name)
    # both ends, so that neither this process nor those that are ended wait for one
    said, told = (os.open(tmp_path / name, os.O_RDWR) for name in ("said", "told"))
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")

    def run(number, *args, tests=TESTS, workers=0, whole_group=False):
        (tmp_path / "test_waiting.py").write_text(tests)
        command = ["-m", "pytest", "-p", "no:cacheprovider", "--backend", "emulated"]
        if workers:
            command += ["-n", str(workers)]
        process = started([*command, *args], tmp_path)
        words = b""
        while words.count(b"now\n") < (workers or 1):
            assert process.poll() is None, process.communicate()
            if select.select([said], [], [], 1)[0]:
                words += os.read(said, 100)
        if whole_group:  # as a terminal does
            for child in children(process.pid):
                os.kill(child, number)
        process.send_signal(number)
        os.write(told, b"." * (workers or 1))
        out, err = process.communicate()
        return process.returncode, out, err

    yield run
    os.close(said)
    os.close(told)


def children(pid):
    tasks = pathlib.Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for file in tasks for child in file.read_text().split()]


def opened_and_closed(tmp_path):
    log = (tmp_path / "log").read_text().splitlines()
    return log.count("open"), log.count("close")


@signals
def test_a_session_ends_with_its_summary_and_the_device_closed(number, session, tmp_path):
    status, out, err = session(number)
    assert (status, err) == (STATUS[number], "")
    assert f"Ended: {WORDS[number]} by {number.name}" in out
    assert "1 passed" in out.splitlines()[-1]
    assert "Traceback" not in out
    assert len(out.splitlines()) < 15
    assert opened_and_closed(tmp_path) == (1, 1)


@pytest.mark.parametrize("whole_group", [False, True], ids=["controller", "group"])
@signals
def test_a_session_of_workers_does_too(number, whole_group, session, tmp_path):
    status, out, err = session(number, workers=2, whole_group=whole_group)
    assert (status, err) == (STATUS[number], "")
    assert f"Ended: {WORDS[number]} by {number.name}" in out
    assert "Traceback" not in out
    assert len(out.splitlines()) < 20
    assert opened_and_closed(tmp_path) == (2, 2)


@pytest.mark.parametrize("tests", [TESTS, COLLECTING], ids=["running", "collecting"])
def test_a_session_that_is_interrupted_takes_no_figures_away(tests, session, tmp_path):
    """Not those that it did not come to, in an earlier record or in the baseline."""
    figures = {"pcc": 0.99, "relative_l2": 0.01, "worst_row": 0.02}
    record = tmp_path / "record.json"
    text = json.dumps(
        {
            "platform": {
                "backend": "emulated",
                "arithmetic": "kernel",
                "ttnn": importlib.metadata.version("ttnn"),
            },
            "cases": {"test_waiting.py::test_one[9]": figures},
            "relaxed": {},
        }
    )
    record.write_text(text)
    (tmp_path / "other.json").write_text(text)
    options = ["--pcc-check", "record.json", "--pcc-update", "--pcc-record", "other.json"]
    status, out, _ = session(signal.SIGINT, *options, tests=tests.replace("\\\\n", "\\n"))
    assert status == 130, out
    assert "nothing is written" in out
    assert record.read_text() == (tmp_path / "other.json").read_text() == text


def test_a_session_that_no_signal_ends_has_its_own_status(session, tmp_path):
    (tmp_path / "test_waiting.py").write_text("def test(): assert 0")
    result = started(["-m", "pytest", "-p", "no:cacheprovider", "-q"], tmp_path)
    result.communicate()
    assert result.returncode == pytest.ExitCode.TESTS_FAILED
    (tmp_path / "test_waiting.py").write_text("import nowhere")
    result = started(["-m", "pytest", "-p", "no:cacheprovider", "-q"], tmp_path)
    result.communicate()
    assert result.returncode == pytest.ExitCode.INTERRUPTED
