"""The pytest plugins that every test of this repository shares: devices, figures and reports."""

pytest_plugins = [
    "ttnn_verify.pytest_plugins.device",
    "ttnn_verify.pytest_plugins.comparisons",
    "ttnn_verify.pytest_plugins.outcomes",
    "ttnn_verify.pytest_plugins.regression",
    "ttnn_verify.pytest_plugins.report_page",
    "tests.properties.profiles",  # here, so that --hypothesis-profile knows them in every run
]
