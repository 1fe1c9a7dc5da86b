"""A report of drift with something in each of its parts, the same each time."""

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
