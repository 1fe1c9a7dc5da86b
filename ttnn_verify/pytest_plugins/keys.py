"""Keys of pytest's config under which plugins share values; each names the plugin that sets it."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ttnn_verify.pytest_plugins.device import SessionDevice
    from ttnn_verify.pytest_plugins.outcomes import RunRecord
    from ttnn_verify.pytest_plugins.regression import BaselineCheck

# By `device`: the name of the backend, how an emulated one computes, None for its default, and the
# device of the process.
BACKEND = pytest.StashKey[str]()
ARITHMETIC = pytest.StashKey[str | None]()
SYSTEM = pytest.StashKey[str | None]()  # what is emulated
MESH = pytest.StashKey[tuple[int, int] | None]()  # of its chips, None for one; by `suite`
DEVICE: "pytest.StashKey[SessionDevice]" = pytest.StashKey()

# By `outcomes`, in the process that reports.
RUN: "pytest.StashKey[RunRecord]" = pytest.StashKey()

# By `regression`: the baseline that the run is checked against, None without.
CHECKED: "pytest.StashKey[BaselineCheck | None]" = pytest.StashKey()
