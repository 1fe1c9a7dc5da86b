"""Configurations: how they read, what they cost, which knobs there are."""

import json

import pytest

from tests.precision import measured_by_hand as by_hand
from ttnn_verify.precision import cost, ladder
from ttnn_verify.precision.configuration import (
    Place,
    PlaceSetting,
    as_json,
    from_json,
    in_lines,
    merged,
)
from ttnn_verify.precision.sites import Sites

BFP8, BFP4 = PlaceSetting(dtype="bfloat8_b"), PlaceSetting(dtype="bfloat4_b")


def test_neighbouring_layers_are_one_line():
    configuration = {Place(layer, "gate"): BFP4 for layer in (0, 1, 2, 5)}
    configuration |= {
        Place(None, "logits"): BFP8,
        Place(3, "down"): PlaceSetting("bfloat8_b", "LoFi"),
    }
    assert in_lines(configuration) == [
        "layers 0-2, 5 gate: bfloat4_b",
        "layer 3 down: bfloat8_b, LoFi",
        "logits: bfloat8_b",
    ]


def test_json_and_back():
    configuration = {
        Place(None, "logits"): PlaceSetting(fp32_dest_acc=False),
        Place(1, "attention"): PlaceSetting(fidelity="HiFi2", exact_exp=False),
        Place(0, "down"): BFP4,
    }
    text = json.dumps(as_json(configuration))
    assert from_json(json.loads(text)) == configuration


def test_what_prevails_keeps_what_it_does_not_say():
    one, other = {Place(0, "up"): BFP8}, {Place(0, "up"): PlaceSetting(fidelity="LoFi")}
    both = merged(one, other)
    assert both == {Place(0, "up"): PlaceSetting("bfloat8_b", "LoFi")}
    assert str(both[0, "up"]) == "bfloat8_b, LoFi"


def test_bytes_are_those_of_tiles():
    sites = by_hand.sites(layers=1)
    base = cost.of(sites, {})
    assert base.weights == (3 * 64 + 256) * 2048
    assert base.caches == 16 * 2048
    changed = cost.of(sites, {Place(0, "qkv"): BFP4, Place(0, "cache"): BFP8})
    assert base.weights - changed.weights == 64 * (2048 - 576)
    assert base.caches - changed.caches == 16 * (2048 - 1088)


def test_a_phase_less_is_time_where_arithmetic_is_the_limit():
    sites = by_hand.sites()
    base, less = (cost.of(sites, dict.fromkeys(places, PlaceSetting(fidelity="LoFi"))).seconds
                  for places in ([], [Place(0, "qkv")]))  # fmt: skip
    assert less < base


@pytest.mark.parametrize(("most", "count"), [(100, 17), (16, 9), (8, 5)])
def test_layers_are_grouped_where_there_would_be_too_many_knobs(most, count):
    made = ladder.knobs(by_hand.sites(), ["format"], most)
    assert len(made) == count
    assert {place for knob in made for place in knob.places} == {
        site.place for site in by_hand.sites().sites
    }


def test_steps_are_coarser_than_what_the_model_has():
    made = ladder.knobs(by_hand.sites(dtype="bfloat8_b"), ["format", "fidelity", "sums"], 100)
    steps = {knob.name: [str(step) for step in knob.steps] for knob in made}
    assert steps["layer 0 down"] == ["bfloat4_b"]
    assert steps["layer 0 cache"] == ["bfloat8_b", "bfloat4_b"]
    assert steps["layer 0 down (fidelity)"] == ["HiFi2", "LoFi"]
    assert steps["logits (sums)"] == ["16-bit sums"]


def test_nothing_coarser_is_no_knob():
    assert ladder.knobs(Sites((), ()), ["format"], 10) == []
    assert ladder.knobs(by_hand.sites(1, "bfloat4_b"), ["format"], 10)[0].part == "cache"


def test_cheap_moves_come_first_and_a_knob_goes_down_step_by_step():
    sites = by_hand.sites(layers=1)
    made = ladder.knobs(sites, ["format"], 100)
    losses = {(n, 2): by_hand.LOSSES.get(knob.part, 2e-5) for n, knob in enumerate(made)}
    moves = ladder.moves(sites, made, losses, "bytes")
    order = [(made[move.knob].part, move.step) for move in moves]
    assert sorted(order) == sorted((knob.part, step) for knob in made for step in (1, 2))
    for part in (knob.part for knob in made):
        assert order.index((part, 1)) < order.index((part, 2))
    assert order[-1] == ("qkv", 2)
    taken = ladder.taken(made, moves)
    assert set(taken.values()) == {BFP4}
