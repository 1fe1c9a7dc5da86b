"""Bars of eval.py: a phase each, filled by the weights that have been used, sent or read."""

import functools
import io
import sys

import pytest
import torch
import tqdm

import ttnn_emulator
from tests.support import shallow_model
from tests.support.small_model import small_model
from ttnn_verify.report import bars

IDS = torch.arange(3, 12)[None]


class Screen(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def watched(monkeypatch):
    """Begin to watch: what is shown from then on, each state of the bars in a line."""
    at_once = functools.partial(tqdm.tqdm, mininterval=0, miniters=0)
    monkeypatch.setattr(bars.tqdm, "tqdm", at_once)

    def begin():
        screen = Screen()
        monkeypatch.setattr(sys, "stderr", screen)
        return lambda: screen.getvalue().split("\r")

    return begin


def test_each_module_of_hugging_faces_fills_the_bar(watched):
    hf_model, shown = small_model(), watched()
    with bars.passes("Hugging Face", hf_model, 2):
        hf_model(IDS)
        hf_model(IDS)
    states = [line for line in shown() if line.startswith("Hugging Face")]
    assert " 100%|" in states[-1]
    assert any(0 < int(line.split("%")[0].split()[-1]) < 50 for line in states)
    assert all("<" in line for line in states)  # before the time left
    assert not any(module._forward_hooks for module in hf_model.modules())


def test_building_prefill_and_decode_have_a_bar_each(watched, device):
    shown = watched()
    hf_model, sent = shallow_model.in_hugging_face(), bars.Sent()
    with ttnn_emulator.arithmetic_settings("rounded"):
        with sent.building(hf_model):
            model = shallow_model.InTTNN(hf_model, device)
        with sent.running(1, 2) as ended:
            for ids in (IDS, IDS[:, :1], IDS[:, :1]):
                model(ids)
                ended(ids.shape[1])
    text = "\n".join(shown())
    for name in ("Building", "TTNN prefill", "TTNN decode"):
        assert f"{name:12}   0%|" in text
        assert f"{name:12} 100%|" in text
    assert sum(sent.sizes.values()) > 0


def test_nobody_is_watched_where_nobody_sees_it(capfd):
    hf_model, sent = small_model(), bars.Sent()
    with bars.passes("Hugging Face", hf_model, 1):
        assert not any(module._forward_hooks for module in hf_model.modules())
    with sent.building(hf_model), sent.running(1, 1) as ended:
        ended(9)
    assert capfd.readouterr().err == ""
    assert not sent.sizes
