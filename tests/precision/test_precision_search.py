"""The search on errors that add up, where the best answer is known."""

import itertools
import math

import pytest
import torch

from tests.precision import measured_by_hand as by_hand
from ttnn_verify.files import stored
from ttnn_verify.precision import ladder, measuring, points
from ttnn_verify.precision.configuration import Place, PlaceSetting
from ttnn_verify.precision.points import Points
from ttnn_verify.precision.searching import Budget, BudgetMissed, Search


def search(bound, measure=by_hand.measured, most=80, metric="kl", kept=None, sites=None):
    sites = sites or by_hand.sites()
    found = Points(sites, measure, kept)
    found.unchanged()
    knobs = ladder.knobs(sites, ["format"], most)
    return Search(found, knobs, "bytes", Budget(metric, bound), most)


def best_bytes(made, bound):
    """The fewest bytes within a budget, by trying everything."""
    sites = made.points.sites
    least = math.inf
    for steps in itertools.product(range(3), repeat=len(made.knobs)):
        configuration = {}
        for knob, step in zip(made.knobs, steps, strict=True):
            configuration |= knob.at(step)
        point = points.Point(configuration, points.cost.of(sites, configuration),
                             by_hand.measured(configuration), "")  # fmt: skip
        if point.measured.figures["kl"] <= bound:
            least = min(least, point.cost.bytes)
    return least


@pytest.mark.parametrize("bound", [2.5e-4, 4e-4, 1e-3, 1.4e-3])
def test_the_cheapest_configuration_within_the_budget(bound):
    made = search(bound, sites=by_hand.sites(layers=2))
    chosen = made.chosen(made.sensitivities())
    assert chosen.measured.figures["kl"] <= bound
    assert chosen.cost.bytes <= 1.03 * best_bytes(made, bound)
    assert made.points.evaluations <= 80


def test_a_budget_for_everything_takes_everything():
    made = search(1.0)
    chosen = made.chosen(made.sensitivities())
    assert set(chosen.configuration.values()) == {PlaceSetting("bfloat4_b")}
    assert len(chosen.configuration) == len(made.points.sites.sites)


def test_other_metrics_have_a_least_value():
    made = search(1 - 1e-3, metric="pcc")
    chosen = made.chosen(made.sensitivities())
    assert chosen.measured.pcc >= 1 - 1e-3
    assert chosen.cost.bytes < made.points.all[0].cost.bytes


def test_a_budget_that_the_model_misses():
    made = search(1e-4)
    with pytest.raises(BudgetMissed, match=r"unchanged model has kl 0.0002, the budget is kl <= "):
        made.chosen(made.sensitivities())


def test_evaluations_have_an_end():
    made = search(4e-4, most=12)
    made.chosen(made.sensitivities())
    assert made.points.evaluations <= 12


def test_what_ttnn_refuses_is_no_candidate():
    refused = Place(0, "gate")

    def measure(configuration):
        if configuration.get(refused, PlaceSetting()).dtype == "bfloat4_b":
            raise RuntimeError("TT_FATAL: no such format\nand more")
        return by_hand.measured(configuration)

    made = search(1.0, measure)
    alone = made.sensitivities()
    assert [one.refused for one in alone if one.point is None] == ["TT_FATAL: no such format"]
    chosen = made.chosen(alone)
    assert chosen.configuration[refused] == PlaceSetting("bfloat8_b")
    assert chosen.configuration[Place(1, "gate")] == PlaceSetting("bfloat4_b")


def test_a_later_run_measures_only_what_is_new(tmp_path):
    counts = []

    def measure(configuration):
        counts.append(configuration)
        return by_hand.measured(configuration)

    chosen = []
    for _ in range(2):
        with stored.opened(tmp_path / "kept.sqlite") as kept:
            made = search(6e-4, measure, kept=kept)
            chosen.append(made.chosen(made.sensitivities()))
    first, second = chosen
    assert first.configuration == second.configuration
    assert first.measured.figures == second.measured.figures
    assert len(counts) == made.points.evaluations + 1  # the model as it is, again


def test_what_was_measured_survives_an_interruption(tmp_path):
    def measure(configuration):
        if len(configuration) > 1:
            raise KeyboardInterrupt
        return by_hand.measured(configuration)

    path = tmp_path / "kept.sqlite"
    with stored.opened(path) as kept:
        made = search(6e-4, measure, kept=kept)
        alone = made.sensitivities()
        with pytest.raises(KeyboardInterrupt):
            made.chosen(alone)
    counts = []

    def again(configuration):
        counts.append(configuration)
        return by_hand.measured(configuration)

    with stored.opened(path) as kept:
        made = search(6e-4, again, kept=kept)
        made.sensitivities()
    assert counts == [{}]


def test_points_of_another_model_are_not_taken(tmp_path):
    def other(configuration):
        result = by_hand.measured(configuration)
        return measuring.Measured(
            result.kl * 2, result.same, result.pcc, "another " + result.digest
        )

    with stored.opened(tmp_path / "kept.sqlite") as kept:
        one = search(6e-4, kept=kept).sensitivities()
    with stored.opened(tmp_path / "kept.sqlite") as kept:
        two = search(6e-4, other, kept=kept).sensitivities()
    assert [a.gain[0] * 2 for a in one] == pytest.approx([b.gain[0] for b in two])


def test_the_front_has_no_point_that_another_beats():
    made = search(6e-4)
    made.chosen(made.sensitivities())
    front = points.front(made.points.all, "bytes")
    kls = [point.measured.figures["kl"] for point in front]
    sizes = [point.cost.bytes for point in front]
    assert sizes == sorted(sizes, reverse=True)
    assert kls == sorted(kls)
    assert front[0].measured.figures["kl"] == min(
        point.measured.figures["kl"] for point in made.points.all
    )


def test_logits_of_nan_miss_every_budget():
    expected = torch.randn(8, 16)
    wrong = measuring.compared(expected, torch.full_like(expected, torch.nan))
    for metric, bound in (("kl", 100.0), ("pcc", -1.0)):
        assert not measuring.within(wrong.figures, metric, bound)


def test_equal_logits_have_no_divergence():
    expected = torch.randn(40, 16)
    same = measuring.compared(expected, expected)
    assert same.figures == {"kl": 0.0, "top1": 1.0, "pcc": pytest.approx(1.0)}
    assert same.gain(same) == (0.0, 0.0)
    low, high = same.top1_interval
    assert low > 0.8
    assert high == pytest.approx(1.0)
