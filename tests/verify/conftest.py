"""What the tests of the reports share: a suite of its own to run."""

import pytest

from .regression_suite import ROOT, Suite


@pytest.fixture
def suite(pytester, monkeypatch):
    """A `Suite` whose tests record what they are told to."""
    for name in ("TT_METAL_SIMULATOR", "PYTEST_XDIST_WORKER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # xdist's workers are new processes
    return Suite(pytester)
