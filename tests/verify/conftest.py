"""Common to the tests of the reports: a separate suite to run, a browser to look with."""

import shutil

import pytest

from .regression_suite import ROOT, Suite


@pytest.fixture
def suite(pytester, monkeypatch):
    """A `Suite` whose tests record given figures."""
    for name in ("TT_METAL_SIMULATOR", "PYTEST_XDIST_WORKER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # xdist's workers are new processes
    return Suite(pytester)


@pytest.fixture
def browser():
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        pytest.skip("no Chromium is installed; Debian's package is `chromium`.")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives Chromium")
    with playwright.sync_playwright() as driver:
        # root, as in containers, has no sandbox to run it in
        opened = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()
