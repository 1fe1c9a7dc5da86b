"""How far drift is: what it tells, what a bar shows of it, and what it expects to come."""

import io
import sys

import pytest
import torch
import ttnn

import ttnn_emulator
from tests.support import shallow_model
from ttnn_verify import drift
from ttnn_verify.drift import progress
from ttnn_verify.drift.observation import walk

IDS = torch.arange(3, 15)[None]  # a prompt of 9 and 3 tokens after it
CALLS = walk.model_calls(walk.sequences(IDS, 3))
PER_CALL = 5  # calls of TTNN in a call of the model: those that move data, too


class Notes:
    """A progress that notes what it is told: of each phase the calls of TTNN in each call."""

    def __init__(self):
        self.phases = []

    def begin(self, phase, calls):
        self.phases.append((phase, list(map(str, calls)), {}))

    def call(self, number):
        self.phases[-1][2][number] = 0

    def ttnn_call(self):
        counts = self.phases[-1][2]
        counts[max(counts)] += 1

    @property
    def names(self):
        return [name for name, _, _ in self.phases]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def model(device):
    hf_model = shallow_model.in_hugging_face()
    with ttnn_emulator.arithmetic_settings("rounded"):
        yield shallow_model.InTTNN(hf_model, device), hf_model


def shown(monkeypatch, stream):
    """What a bar writes of a walk that is over after two calls of the model, of 7 and of 5."""
    monkeypatch.setattr(sys, "stderr", stream)
    bar = progress.Bar()
    bar.begin("Hugging Face's passes", ["12 tokens", "3 tokens"])
    bar.call(0)
    bar.call(1)
    bar.begin("isolated walk", CALLS)
    for number, count in enumerate((7, 5)):
        bar.call(number)
        for _ in range(count):
            bar.ttnn_call()
    bar.call(2)
    bar.close()
    return stream.getvalue().split("\r")


# --- what is told --------------------------------------------------------------------------------


def test_each_phase_each_call_of_the_model_and_each_of_ttnn_is_told(model):
    notes = Notes()
    drift.measure(*model, IDS, 3, drift.Session(progress=notes))
    assert notes.names == [
        "Hugging Face's passes",
        "isolated walk",
        "layer by layer",
        "cumulative run",
    ]
    passes, isolated, *cumulative = notes.phases
    assert passes[2] == dict.fromkeys(range(5), 0)  # of two rows each is a pass
    assert isolated[1][:2] == ["prompt of 9", "token at 9"]
    assert isolated[2] == dict.fromkeys(range(len(CALLS)), PER_CALL)
    for _, calls, counts in cumulative:
        assert calls == isolated[1][:4]
        assert counts == dict.fromkeys(range(4), PER_CALL)


def test_a_walk_that_is_cut_short_tells_no_more(model):
    notes = Notes()
    in_ttnn = model[0]
    in_ttnn.logits = lambda x: ttnn.linear(ttnn.neg(x), in_ttnn.head)
    assert drift.locate(*model, IDS, 3, drift.Session(progress=notes)) is not None
    assert notes.names == ["Hugging Face's passes", "isolated walk"]
    assert list(notes.phases[-1][2]) == [0]


def test_attribution_tells_each_family(model):
    notes = Notes()
    shares = drift.attribute(*model, IDS, 3, drift.Session(progress=notes))
    assert notes.names[1:] == [f"{share.family} exact" for share in shares]


def test_nobody_need_be_told(model):
    told, untold = (
        drift.measure(*model, IDS, 3, drift.Session(progress=one)) for one in (Notes(), None)
    )
    assert repr(told) == repr(untold)


# --- what is expected ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({}, None),
        ({0: 7}, 12 * 7),
        ({0: 7, 1: 5}, 2 * 7 + 10 * 5),  # of two rows nothing is known: as the last one
        ({0: 7, 1: 5, 2: 6}, 2 * 7 + 5 + 9 * 6),
    ],
)
def test_a_call_is_expected_to_be_like_the_last_one_of_its_kind(counts, expected):
    assert progress.total(CALLS, counts) == expected


def test_what_a_model_refuses_is_not_expected():
    counts = dict.fromkeys(range(9), 5) | {9: 0, 10: 0, 11: 0}
    assert progress.total(CALLS, counts) == 9 * 5


def test_passes_of_hugging_face_count_as_they_are():
    assert progress.total(["12 tokens", "3 tokens"], {}) == 2


# --- what is shown -------------------------------------------------------------------------------


def test_a_terminal_shows_phase_call_and_what_is_expected(monkeypatch):
    lines = shown(monkeypatch, Terminal())
    passes = next(line for line in lines if "3 tokens" in line)
    assert passes.startswith("Hugging Face's passes:  50%")
    assert "1/2" in passes
    first = next(line for line in lines if "prompt of 9: 1 of 12" in line)
    assert "%" not in first
    last = next(line for line in lines if "token at 10: 3 of 12" in line)
    assert last.startswith("isolated walk: ")
    assert f"12/{progress.total(CALLS, {0: 7, 1: 5})}" in last


def test_what_is_no_terminal_shows_nothing(monkeypatch):
    assert shown(monkeypatch, io.StringIO()) == [""]
