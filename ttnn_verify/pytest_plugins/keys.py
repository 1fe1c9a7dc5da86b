"""Keys of pytest's config under which plugins share values; each names the plugin that sets it."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ttnn_verify.pytest_plugins.outcomes import RunRecord
    from ttnn_verify.pytest_plugins.regression import BaselineCheck

# By `device`: the name of the backend, and how an emulated one computes, None for its default.
BACKEND = pytest.StashKey[str]()
ARITHMETIC = pytest.StashKey[str | None]()

# By `outcomes`, in the process that reports.
RUN: "pytest.StashKey[RunRecord]" = pytest.StashKey()

# By `regression`: the baseline that the run is checked against, None without.
CHECKED: "pytest.StashKey[BaselineCheck | None]" = pytest.StashKey()
