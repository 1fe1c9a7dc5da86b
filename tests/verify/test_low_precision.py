"""Which declared low precision is named: what costs several times the error of the others."""

import torch

from ttnn_verify.drift import finding, low_precision
from ttnn_verify.drift.finding import OpFinding
from ttnn_verify.drift.observation.walk import ModelCall
from ttnn_verify.numerics import metrics, tolerance
from ttnn_verify.numerics.floors import Floor

PROMPT = ModelCall(0, 0, (0,), (33,))


def on(layer, value, declared, error, status=finding.OK):
    """A product's finding whose result is off by so much."""
    golden = torch.ones(1, 4, dtype=torch.float64)
    comparison = metrics.compare(golden, golden * (1 + error))
    verdict = tolerance.judge(comparison, Floor(1.0, 1.0))
    return OpFinding(
        *(status, PROMPT, layer, "ttnn.linear", layer, value, "MLP"),
        step=verdict,
        declared=declared,
    )


FINE = [on(layer, "gate", "HiFi4", 0.002) for layer in range(3)]


def test_the_place_the_precision_and_its_cost_are_named():
    (low,) = low_precision.of([*FINE, on(2, "down", "LoFi", 0.024)])
    assert low.line == "layer 2, MLP, ttnn.linear (down): LoFi, 12 x the error of the others"


def test_a_place_is_named_once_by_its_worst_call():
    (low,) = low_precision.of([*FINE, on(2, "up", "LoFi", 0.01), on(2, "up", "LoFi", 0.02)])
    assert round(low.times) == 10


def test_the_most_precise_calls_are_the_measure_however_few():
    coarse = [on(layer, "up", "LoFi", 0.02) for layer in range(9)]
    assert len(low_precision.of([*FINE, *coarse])) == 9


def test_what_costs_little_is_not_named():
    assert low_precision.of([*FINE, on(2, "down", "HiFi3", 0.004)]) == []


def test_where_all_ask_for_the_same_nothing_is():
    assert low_precision.of([*FINE, on(3, "gate", "HiFi4", 0.05)]) == []


def test_a_bad_call_is_no_matter_of_precision():
    assert low_precision.of([*FINE, on(2, "down", "LoFi", 0.5, finding.WRONG)]) == []
