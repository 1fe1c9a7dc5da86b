"""The pytest plugin that says what there is where the suite's tests were all deselected.

And why a phase of the model was not run, such as a prompt that it has no room for, where no test
that would say it is left.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pytest

from ttnn_verify.pytest_plugins.keys import RUN
from ttnn_verify.suite.plugin import PACKAGE, SUBJECT

# What a worker of xdist tells the process that reports: phase -> why it was not run.
NOT_RUN = "phases_not_run"
OF_WORKERS = pytest.StashKey[dict[str, str]]()

# A test of a value: `ttnn_verify.suite.layers::test_value[layer2-attention-o_proj-decode]`.
VALUE = re.compile(rf"^{re.escape(PACKAGE)}\.layers::\w+\[(?P<id>.+)\]$")


def phases_not_run(config: pytest.Config) -> dict[str, str]:
    """Phase -> why this process did not run it; {} where no model was run to collect tests."""
    subject = config.stash.get(SUBJECT, None)
    first_run = vars(subject).get("first_run") if subject else None  # cached once it has run
    phases = first_run.phases if first_run else ()
    return {one.name: one.skipped or one.failed for one in phases if not one.ran}


@pytest.hookimpl(tryfirst=True)  # before xdist sends it
def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput[NOT_RUN] = phases_not_run(session.config)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:  # xdist's controller of a worker
    told = (getattr(node, "workeroutput", None) or {}).get(NOT_RUN, {})
    node.config.stash.setdefault(OF_WORKERS, {}).update(told)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    config = terminalreporter.config
    record = config.stash.get(RUN, None)
    if record is None or not record.deselected:
        return
    if not record.collected:
        terminalreporter.line(nothing_selected(record.deselected))
    phases = phases_not_run(config) | config.stash.get(OF_WORKERS, {})
    for line in untold(phases, record.collected):
        terminalreporter.line(line)


def nothing_selected(deselected: Iterable[str]) -> str:
    """What the deselected tests are of, in a line: layers, and the values of each part.

    Args:
        deselected: node ids.
    """
    layers: set[int] = set()
    parts: dict[str, list[str]] = {}
    for words in map(_words, sorted(deselected)):
        if words and (numbered := re.fullmatch(r"layer(\d+)", words[0])):
            layers.add(int(numbered[1]))
            words = words[1:]
        if words:
            values = parts.setdefault(words[0], [])
            values += [word for word in words[1:2] if word not in values]
    if not parts:
        return "nothing is selected; `--collect-only -q` without -k lists what there is."
    ends = sorted({min(layers), max(layers)}) if layers else []
    named = " to ".join(f"layer{number}" for number in ends)
    of_parts = (
        f"{part} ({', '.join(values)})" if values else part for part, values in parts.items()
    )
    return f"nothing is selected; there are {'; '.join(filter(None, (named, *of_parts)))}."


def _words(nodeid: str) -> list[str]:
    """Of a test of a value: its layer, part and value, as far as it has them; [] of another one."""
    match = VALUE.match(nodeid)
    return match["id"].split("-")[:-1] if match else []


def untold(phases: Mapping[str, str], collected: Collection[str]) -> list[str]:
    """A line for each phase that was not run and of which no selected test says why.

    Args:
        phases: phase -> why it was not run.
        collected: the node ids that were selected.
    """
    return [
        f"not tested: {name}: {reason}"
        for name, reason in phases.items()
        if not any(re.search(rf"[\[-]{re.escape(name)}\]$", nodeid) for nodeid in collected)
    ]
