"""The pytest plugin of the end: on SIGINT and SIGTERM the device closes, the status says which.

pytest itself ends with 2 on SIGINT, as where tests cannot be collected, and dies of SIGTERM with
the device open. With this plugin either ends the session in order, with its summary and its
reports, and with 130 or 143.
"""

import contextlib

import pytest

from ttnn_verify import ending

ENDING = pytest.StashKey[ending.Signals]()


def pytest_configure(config: pytest.Config) -> None:
    stack = contextlib.ExitStack()
    config.add_cleanup(stack.close)
    # a worker of xdist has a second one from its controller, while it closes the device
    is_worker = hasattr(config, "workerinput")
    config.stash[ENDING] = stack.enter_context(ending.raised(at_once=not is_worker))


def pytest_sessionfinish(session: pytest.Session) -> None:
    session.exitstatus = session.config.stash[ENDING].status or session.exitstatus
