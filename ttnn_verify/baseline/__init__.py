"""PCC regression: the figures of every comparison of a run, in a file, and what changed since.

A baseline belongs to a backend, its arithmetic and a version of TTNN; it is one JSON file with a
line per case. `Limits` defines what counts as lost.

`python -m ttnn_verify.baseline diff A B` lists what differs from A to B.
"""

from ttnn_verify.baseline.cases import (
    ERROR_SLACK,
    KINDS,
    PCC_SLACK,
    Baseline,
    CaseChange,
    CaseFigures,
    Limits,
    Platform,
    Relaxation,
    diff,
    judge,
    names,
    node,
    updated,
)
from ttnn_verify.baseline.files import BaselineError, check_platform, load, save

__all__ = [
    "ERROR_SLACK",
    "KINDS",
    "PCC_SLACK",
    "Baseline",
    "BaselineError",
    "CaseChange",
    "CaseFigures",
    "Limits",
    "Platform",
    "Relaxation",
    "check_platform",
    "diff",
    "judge",
    "load",
    "names",
    "node",
    "save",
    "updated",
]
