"""What every test of this repository shares: the pytest plugin with the device fixture."""

pytest_plugins = ["verify.plugin", "verify.summary"]
