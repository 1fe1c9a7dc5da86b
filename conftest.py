"""What every test of this repository shares: the pytest plugins, for devices, figures and reports."""

pytest_plugins = [
    "verify.plugin",
    "verify.summary",
    "verify.run",
    "verify.regression",
    "verify.report.plugin",
    "tests.properties.profiles",  # here, so that --hypothesis-profile knows them in every run
]
