"""The pytest plugins that every test of this repository shares."""

pytest_plugins = [
    "ttnn_verify.pytest_plugins.tools",
    "tests.properties.profiles",  # here, so that --hypothesis-profile knows them in every run
]
