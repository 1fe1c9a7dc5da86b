"""All plugins of this package in one: devices, figures, baselines and reports for any tests.

pytest_plugins = ["ttnn_verify.pytest_plugins.tools"]  # in a conftest.py
"""

# `device` first: it limits the threads of what the others import.
pytest_plugins = [
    "ttnn_verify.pytest_plugins.device",
    "ttnn_verify.pytest_plugins.comparisons",
    "ttnn_verify.pytest_plugins.interruption",
    "ttnn_verify.pytest_plugins.outcomes",
    "ttnn_verify.pytest_plugins.outputs",
    "ttnn_verify.pytest_plugins.regression",
    "ttnn_verify.pytest_plugins.failures",
    "ttnn_verify.pytest_plugins.report_page",
]
