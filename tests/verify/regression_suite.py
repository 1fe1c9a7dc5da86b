"""A suite whose tests record the figures in a file, for tests of the reports."""

import json
import pathlib

ROOT = pathlib.Path(__file__).parents[2]

CONFTEST = """
pytest_plugins = [
    "ttnn_verify.pytest_plugins.tools",
]
"""

TESTS = """
import json, pathlib, pytest
from ttnn_verify.pytest_plugins import comparisons

FIGURES = json.loads(pathlib.Path("figures.json").read_text())

def entry(case):
    figures = {"pcc": 0.9999, "relative_l2": 0.01, "worst_row": 0.02, "ulp": 3.0, "used": 0.5,
               "passed": True, "status": "ok", "allowed": 0.02, "pcc_floor": 0.9998,
               "histogram": [0] * 15 + [1, 5, 9, 20, 30, 99, 30, 20, 9, 5, 1] + [0] * 15}
    return {"op": case.partition("-")[0], "case": case} | figures | FIGURES[case]

@pytest.mark.parametrize("case", FIGURES)
def test_op(case, record_property):
    record_property(comparisons.PROPERTY, entry(case))
    assert entry(case)["passed"], f"{case} is off"

def test_without_comparisons():
    pass
"""

OTHER_VALUES_EACH_TIME = """
from hypothesis import HealthCheck, given, settings, strategies
from test_ops import entry
from ttnn_verify.pytest_plugins import comparisons

@settings(max_examples=2, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(strategies.integers())
def test_other_values_each_time(record_property, n):
    record_property(comparisons.PROPERTY, entry("add-1"))
"""


class Suite:
    """The suite, and how it is run. `figures` is case -> what differs from a good entry."""

    def __init__(self, pytester):
        self.path = pytester.path
        self._pytester = pytester
        pytester.makeini("[pytest]\n")
        pytester.makeconftest(CONFTEST)
        folder = pytester.path / "tests" / "ops"
        folder.mkdir(parents=True)
        (folder / "test_ops.py").write_text(TESTS)

    def run(self, figures, *args):
        """pytest's result of a run with such figures."""
        (self.path / "figures.json").write_text(json.dumps(figures))
        return self._pytester.runpytest("-p", "no:cacheprovider", "--backend", "emulated", *args)

    def add(self, name, text):
        """Put another file of tests beside the suite's own."""
        (self.path / "tests" / "ops" / name).write_text(text)

    def json(self, name):
        return json.loads((self.path / name).read_text())


def case(name):
    """What a baseline calls the comparison of the suite's `name`."""
    return f"tests/ops/test_ops.py::test_op[{name}]"
