"""The table of faults: what it says of a fault that is caught, that escapes, that was not run."""

from .fault_table import lines, row, totals
from .inject import Fault


def rows(*caught):
    return [
        row(Fault(f"fault {i}", "ops", None), "optimized", tiers)[1]
        for i, tiers in enumerate(caught)
    ]


def test_a_tier_is_marked_as_caught_passed_or_not_run():
    _, line = lines(rows({"ops": None, "layers": "mlp"}))
    assert line.split() == ["fault", "0", "-", "x", "mlp"]


def test_an_escape_is_loud():
    escaped = rows({"ops": None, "layers": None, "e2e": None}, {"ops": "add-bf16"})
    assert "NOTHING" in list(lines(escaped))[1]
    assert totals(escaped) == "2 faults; seen by ops 1, layers 0, e2e 0; escaped: 1"
