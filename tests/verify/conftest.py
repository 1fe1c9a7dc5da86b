"""Common to the tests of the reports: a separate suite to run."""

import pytest

from .regression_suite import ROOT, Suite


@pytest.fixture
def suite(pytester, monkeypatch):
    """A `Suite` whose tests record given figures."""
    for name in ("TT_METAL_SIMULATOR", "PYTEST_XDIST_WORKER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # xdist's workers are new processes
    return Suite(pytester)
