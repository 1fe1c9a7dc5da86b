"""What the pages show, with something in each of their parts, the same each time."""

import math

from tests.precision import measured_by_hand as by_hand
from ttnn_verify.precision import ladder
from ttnn_verify.precision.points import Points
from ttnn_verify.precision.result import PrecisionResult
from ttnn_verify.precision.searching import Budget, Search
from ttnn_verify.report.drift.drift_record import (
    DepthRecord,
    DriftRecord,
    FindingRecord,
    ShareRecord,
)

DRIFT = DriftRecord(
    checkpoint="phi3-<tiny>",
    backend="emulated, kernel arithmetic",
    tokens=36,
    decoded=3,
    status=1,
    verdict="first bad op: layer 1, attention",
    counts={"ok": 40, "wrong": 1, "no-golden": 1, "tool-error": 1},
    allowed_logits=0.03,
    depth=(
        DepthRecord("embedding", prompt=0.0, tokens=0.0, pcc=1.0),
        *(
            DepthRecord(f"layer {i}", prompt=0.01 * (i + 1), pcc=0.9, gain=1.1, isolated=0.01)
            for i in range(3)
        ),
        DepthRecord("logits", prompt=0.2, pcc=0.8),
    ),
    low_precision=("layer 2, MLP, ttnn.linear (gate): LoFi, 12 x the error of the others",),
    attribution=(ShareRecord("norm", 0.1, 0.75),),
    findings=(
        FindingRecord("ok", "prompt", 3, "ttnn.add", 0, "attention", "x", 0.01, 0.99, 0.4),
        FindingRecord("ok", "prompt", 4, "ttnn.mul", 0, "attention", "y", 0.01, 0.99, 0.8),
        FindingRecord("wrong", "prompt", 9, "ttnn.linear", 1, "attention", "q", 0.4, 0.7, 9.0),
        FindingRecord("no-golden", "token at 33", 7, "ttnn.eq", 1, note="there is none for eq."),
        FindingRecord("tool-error", "token at 33", 8, "ttnn.pad", note="ValueError: no <pad>"),
    ),
    model_file="models/n150/functional/model.py",
    prompt="In the beginning God created the heaven and the earth.",
    made="2026-11-29 20:30 UTC",
    versions={"ttnn": "0.81.1", "torch": "2.9", "transformers": "5.1", "ours": "0.1.0"},
    left_out={"1152 positions": "the model is built for 256"},
)

# Of a run: case -> figures, as `regression_suite` takes them.
FIGURES = {
    "add-1": {"pcc": 0.99, "ulp": 10.0, "used": 0.9},
    "add-2": {"pcc": 0.9999, "ulp": 2.0, "used": 0.4},
    "mul-1": {"pcc": 0.999, "ulp": 9.0, "used": 1.7, "passed": False, "status": "drift"},
    "slice-1": {
        "pcc": None,
        "ulp": None,
        "used": None,
        "relative_l2": 0.0,
        "worst_row": 0.0,
        "histogram": None,
        "allowed": None,
    },
    "<b>exp</b>": {"ulp": math.inf, "used": 0.2},
}

ABOUT = {"checkpoint": "assets/phi3-tiny", "backend": "emulated", "date": "2026-11-30"}


BUDGET = Budget("kl", 1e-3)


def found(budget=BUDGET):
    """What a search of errors that add up finds; with None the sensitivities alone."""
    sites = by_hand.sites()
    points = Points(sites, by_hand.measured)
    base = points.unchanged()
    search = Search(points, ladder.knobs(sites, ["format"], 26), "bytes", budget, 40)
    alone = search.sensitivities(every_step=budget is None)
    result = PrecisionResult(sites, "bytes", points.all, alone, budget, about=ABOUT)
    if budget is None:
        return result
    chosen = search.chosen(alone)
    return PrecisionResult(
        sites, "bytes", points.all, alone, budget, chosen, (base, chosen), about=ABOUT
    )
