"""The tolerance policy catches the mutations that it should and that PCC does not catch.

Thresholds hold for the roundings they are derived from, and not for twice as many.
"""

import math
import typing

import pytest
import torch

from tests.support.small_model import small_model
from ttnn_verify.huggingface import module_floors
from ttnn_verify.huggingface.recording import record
from ttnn_verify.numerics import metrics, op_floors, tolerance

# --- which metric sees which error ---------------------------------------------------------------

M, K, N = 64, 1024, 3072  # a product with Phi-3-mini's hidden size in it
MASSIVE = 300  # how much larger four channels of a residual stream are
SIGMAS = 30

# What the model asks of ttnn.linear, and what ttnn.linear does when nothing is asked.
ACCURATE = op_floors.ComputeConfig("HiFi4", fp32_dest_acc=True, packer_l1_acc=False)
DEFAULT = op_floors.ComputeConfig()


def operands(channels):
    """a [M, K] and b [K, N], bfloat16 values in float32; `channels`: which of them are massive."""
    a, b = torch.randn(M, K), torch.randn(K, N) / math.sqrt(K)
    if channels == "in":
        a[:, [3, 77, 400, 900]] *= MASSIVE
    if channels == "out":
        b[:, [3, 77, 1400, 2900]] *= MASSIVE
    return a.bfloat16().float(), b.bfloat16().float()


def changed(x, index, value):
    x = x.clone()
    x[index] = value
    return x


# Each takes the honest result and the operands. The product without a tile of K is what a loop that
# ends early computes.
MUTATIONS = {
    "doubled": lambda y, a, b: 2 * y,
    "offset of 1": lambda y, a, b: y + 1,
    "gain of 1 %": lambda y, a, b: 1.01 * y,
    "last row zero": lambda y, a, b: changed(y, -1, 0),
    "a face zero": lambda y, a, b: changed(y, (slice(0, 16), slice(16, 32)), 0),
    "a NaN": lambda y, a, b: changed(y, (5, 7), math.nan),
    "an outlier": lambda y, a, b: changed(y, (5, 7), y[5, 7] + SIGMAS * y.square().mean().sqrt()),
    "a tile of K lost": lambda y, a, b: y - a[:, 32:64] @ b[32:64],
    "rows off by one": lambda y, a, b: y.roll(1, 0),
}


def masked_pcc(expected, actual):
    """PCC as it is often taken: non-finite values set to zero."""
    return metrics.pcc(expected, actual.nan_to_num(0, 0, 0))


# Metric -> whether it calls a result wrong, by (comparison, floor, expected, actual).
METRICS = {
    "PCC 0.99": lambda c, f, x, y: masked_pcc(x, y) < 0.99,
    "cosine 0.99": lambda c, f, x, y: c.cosine < 0.99,
    "slope 0.5 %": lambda c, f, x, y: abs(c.slope - 1) > 0.005,
    "ULP p99": lambda c, f, x, y: c.ulps.p99 > 2,
    "relative L2": lambda c, f, x, y: c.relative_l2 > tolerance.K * f.relative_l2,
    "worst row": lambda c, f, x, y: c.worst_row.value > tolerance.K * f.worst_row,
    "not finite": lambda c, f, x, y: c.nonfinite > 0,
    "policy": lambda c, f, x, y: not tolerance.judge(c, f).passed,
}

GROSS = {"doubled", "offset of 1", "gain of 1 %", "last row zero", "a tile of K lost"}
SUM_OF_PRODUCTS = {"a tile of K lost", "rows off by one"}
FINITE = set(MUTATIONS) - {"a NaN"}

# Massive channels -> metric -> the mutations that it catches, with ACCURATE.
CAUGHT = {
    "none": {
        "PCC 0.99": SUM_OF_PRODUCTS,
        "cosine 0.99": SUM_OF_PRODUCTS | {"offset of 1"},
        "slope 0.5 %": (GROSS | SUM_OF_PRODUCTS) - {"offset of 1"},
        "ULP p99": GROSS | SUM_OF_PRODUCTS,
        "relative L2": FINITE,
        "worst row": FINITE,
        "not finite": {"a NaN"},
        "policy": set(MUTATIONS),
    },
    "in": {
        "PCC 0.99": {"rows off by one"},
        "cosine 0.99": {"rows off by one"},
        "slope 0.5 %": {"doubled", "gain of 1 %", "last row zero", "rows off by one"},
        "ULP p99": GROSS | SUM_OF_PRODUCTS,
        "relative L2": FINITE,
        "worst row": FINITE,
        "not finite": {"a NaN"},
        "policy": set(MUTATIONS),
    },
    "out": {
        "PCC 0.99": SUM_OF_PRODUCTS | {"last row zero"},
        "cosine 0.99": SUM_OF_PRODUCTS | {"last row zero"},
        "slope 0.5 %": (GROSS | SUM_OF_PRODUCTS) - {"offset of 1"},
        "ULP p99": GROSS | SUM_OF_PRODUCTS,
        "relative L2": FINITE,
        "worst row": FINITE,
        "not finite": {"a NaN"},
        "policy": set(MUTATIONS),
    },
}


def caught(channels, compute, by=METRICS):
    """Metric -> the mutations that it catches; "honest" among them is a false alarm."""
    a, b = operands(channels)
    expected, floor = a.double() @ b.double(), op_floors.matmul(a, b, compute=compute)
    honest = (a @ b).bfloat16().float()
    mutations = {metric: set() for metric in by}
    results = {name: mutate(honest, a, b) for name, mutate in MUTATIONS.items()}
    for name, result in {"honest": honest, **results}.items():
        actual = result.bfloat16()
        comparison = metrics.compare(expected, actual)
        for metric in by:
            if METRICS[metric](comparison, floor, expected, actual):
                mutations[metric].add(name)
    return mutations


@pytest.mark.parametrize("channels", CAUGHT)
def test_the_policy_catches_nine_mutations_and_pcc_hardly_any(channels):
    assert caught(channels, ACCURATE) == CAUGHT[channels]


@pytest.mark.parametrize(
    ("channels", "missed"),
    [
        ("none", {"gain of 1 %"}),
        ("in", {"gain of 1 %"}),
        ("out", {"gain of 1 %", "a face zero"}),
    ],
)
def test_a_16_bit_destination_hides_what_is_smaller_than_its_own_error(channels, missed):
    """Its error is 0.8 % of the result: no check of the size of errors tells 1 % from it."""
    assert caught(channels, DEFAULT, ["policy"]) == {"policy": set(MUTATIONS) - missed}


def test_a_lost_row_beside_a_massive_one_is_seen_in_the_worst_row_alone():
    a, b = operands("none")
    a[0] *= MASSIVE
    floor = op_floors.matmul(a, b, compute=ACCURATE)
    comparison = metrics.compare(a.double() @ b.double(), changed((a @ b).bfloat16(), -1, 0))
    assert not METRICS["relative L2"](comparison, floor, None, None)
    assert METRICS["worst row"](comparison, floor, None, None)
    assert comparison.worst_row.index == (M - 1,)


# --- verdicts ------------------------------------------------------------------------------------

FLOOR = op_floors.Floor(0.01, 0.02)


def compared(error, shape=(8, 64)):
    """A comparison whose relative L2 is `error`, as a whole and in each row."""
    x = torch.randn(shape, dtype=torch.float64)
    e = torch.randn(shape, dtype=torch.float64)
    e = e / e.norm(dim=-1, keepdim=True) * x.norm(dim=-1, keepdim=True)
    return metrics.compare(x, x + error * e)


def test_a_verdict_says_how_much_was_used_and_what_would_have_passed():
    passed, failed = (tolerance.judge(compared(error), FLOOR) for error in (0.015, 0.03))
    assert passed.passed
    assert passed.used == pytest.approx(0.75)
    assert failed.status == "drift"
    assert failed.used == pytest.approx(1.5)
    assert failed.needed_k == pytest.approx(3.0)
    assert "relative L2 0.03 of 0.02 (150%)" in failed.line
    assert "passes from k = 3" in failed.line
    assert tolerance.judge(compared(0.03), FLOOR, k=3.01).passed


def test_the_worst_row_alone_can_fail():
    assert tolerance.judge(compared(0.015), op_floors.Floor(0.01, 0.005)).status == "drift"


def test_one_nan_fails_whatever_is_allowed():
    x = torch.randn(4, 32)
    verdict = tolerance.judge(
        metrics.compare(x, changed(x, (2, 3), math.nan)), op_floors.Floor(1e9, 1e9)
    )
    assert verdict.status == "nonfinite"
    assert "1 NaN" in verdict.line
    assert "(2, 3)" in verdict.line


def test_wrong_shapes_and_formats_fail_before_anything_is_measured():
    x = torch.randn(4, 32)
    assert tolerance.judge(metrics.compare(x, x.T), FLOOR).status == "shape"
    assert tolerance.judge(metrics.compare(x, x, "bfloat16"), FLOOR).status == "dtype"


def test_movement_may_not_change_a_bit():
    x = torch.randn(4, 32)
    assert tolerance.judge(metrics.compare(x, x.clone()), op_floors.EXACT).passed
    moved = changed(x, (1, 2), x[1, 2] * (1 + 2.0**-22))
    verdict = tolerance.judge(metrics.compare(x, moved), op_floors.EXACT)
    assert verdict.status == "differs"
    assert verdict.line.startswith("1 of 128 elements differ")


@pytest.mark.parametrize("offset", [0, 0.1, 3])
def test_no_pcc_below_the_floor_passes(offset):
    """The floor of PCC follows from the relative L2: of values about a mean it lies lower."""
    x = torch.randn(50, 64, dtype=torch.float64) + offset
    for error in (0.001, 0.0199):
        e = torch.randn_like(x)
        verdict = tolerance.judge(metrics.compare(x, x + error * e / e.norm() * x.norm()), FLOOR)
        if verdict.status == "ok":
            assert verdict.comparison.pcc >= verdict.pcc_floor
    assert verdict.pcc_floor < 1


def test_a_constant_has_no_floor_of_pcc():
    x = torch.full((4, 32), 3.0)
    verdict = tolerance.judge(metrics.compare(x, x + 0.01), FLOOR)
    assert verdict.passed
    assert verdict.pcc_floor is None
    assert "PCC undefined" in verdict.line


# --- parts of the model --------------------------------------------------------------------------


def rounded_in_a_row(x, n):
    """x times n random factors, each product rounded to bf16; and the same without rounding."""
    exact, rounded = x.double(), x
    for _ in range(n):
        factor = (torch.rand(x.shape) + 0.5).bfloat16()
        exact, rounded = exact * factor.double(), (rounded.float() * factor.float()).bfloat16()
    return exact, rounded


def test_roundings_in_a_row_stay_within_the_bound_and_use_it():
    x = torch.randn(100_000).bfloat16()
    for n in (1, 4, 16, 50):
        error = metrics.relative_l2(*rounded_in_a_row(x, n))
        bound = tolerance.bf16_relative_l2(n)
        assert 0.3 * bound < error < 0.6 * bound, n


class Step(typing.NamedTuple):
    name: str
    kind: str
    inputs: tuple[str, ...] = ()


def test_roundings_are_counted_along_the_longest_way():
    steps = [
        Step("embedding", "embedding"),
        Step("norm", "norm", ("embedding",)),
        Step("q", "rope", ("norm", "model.cos")),
        Step("sum", "add", ("embedding", "q")),
    ]
    counts = tolerance.roundings(steps)
    assert counts == {"embedding": 0, "norm": 1, "q": 4, "sum": 5}
    assert tolerance.stand_in_relative_l2(steps) == tolerance.bf16_relative_l2(5)


def steps_of(hf_model):
    return [step for step in record(hf_model, torch.arange(4)[None]).steps if not step.within]


def test_the_stand_in_reads_the_models_table_of_steps():
    """The longer way through a decoder layer rounds 15 times, norm and head twice."""
    hf_model = small_model()
    counts = tolerance.roundings(steps_of(hf_model))
    assert [counts[f"layers.{i}.output"] for i in range(3)] == [15, 30, 45]
    assert counts["logits"] == 47


def test_on_a_trained_checkpoint_the_stand_in_is_the_looser_bound(hf_model, prompt_ids):
    measured = tolerance.K * module_floors.of_logits(hf_model, prompt_ids[:, :33]).relative_l2
    assert measured < tolerance.stand_in_relative_l2(steps_of(hf_model)) < 3 * measured


def test_pcc_floor_is_reached_by_the_worst_error_and_by_none_smaller():
    x, e = torch.randn(100_000).double(), torch.randn(100_000).double()
    x, e = x - x.mean(), e - e.mean()
    y = e - e.dot(x) / x.dot(x) * x  # upright on x
    for r in (0.01, 0.1, 0.5):
        # the error that turns x the farthest stands upright on x + error
        turned = x * (1 - r**2) + y / y.norm() * x.norm() * r * (1 - r**2) ** 0.5
        assert abs(metrics.relative_l2(x, turned) - r) < 1e-9
        assert abs(metrics.pcc(x, turned) - tolerance.pcc_floor(r)) < 1e-9
        assert metrics.pcc(x, x + e / e.norm() * x.norm() * r) >= tolerance.pcc_floor(r)


def test_rows_that_overflow_leave_the_floor_of_the_others():
    """Of idle rows that hold anything: what rounds to infinity there explains nothing elsewhere."""
    exact = torch.tensor([[1.0, 2.0], [3e38, 1.0]], dtype=torch.float64)
    rounded = torch.tensor([[1.0, 2.1], [math.inf, math.nan]], dtype=torch.float64)
    assert op_floors.between(exact, rounded) == op_floors.between(exact[:1], rounded[:1])
