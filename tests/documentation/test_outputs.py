"""The outputs that pages show are what their commands print: every word, and figures to 1 %.

Lines of times and versions are left out, and the figures of a run of pytest that depend on the
machine: how long it took, which plugins there are.
"""

import re

import pytest

from scripts import pages
from tests.documentation import markdown

NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]\d+)?")
CLOSE = 0.01  # sums of Hugging Face's pass in float32 differ from processor to processor
VARIES = re.compile(
    r"^(Tokens/s|  Hugging Face |  TTNN |platform |rootdir|configfile|plugins).*$| in \d+\.\d+s.*$"
)


def lines(output):
    return [re.sub(r"={2,}|_{3,}", "", VARIES.sub("", line)) for line in output.splitlines()]


def different(before, now):
    """Pairs of lines that differ in more than the last digits of a figure."""
    before, now = lines(before), lines(now)
    pairs = [pair for pair in zip(before, now, strict=False) if not alike(*pair)]
    rest = [(line, None) for line in before[len(now) :]] + [(None, x) for x in now[len(before) :]]
    return pairs + rest


def alike(before, now):
    if NUMBER.sub("", before).split() != NUMBER.sub("", now).split():
        return False
    figures = zip(NUMBER.findall(before), NUMBER.findall(now), strict=True)
    return all(close(a, b) for a, b in figures)


def close(before, now):
    """Within 1 %, or 2 in the last digit that is shown."""
    a, b = float(before), float(now)
    mantissa, _, power = before.partition("e")
    digit = 10.0 ** (int(power or 0) - len(mantissa.partition(".")[2]))
    whole = mantissa == before and "." not in before
    return abs(a - b) <= max(CLOSE * abs(a), 0 if whole else 2 * digit)


@pytest.mark.parametrize("page", pages.PAGES, ids=markdown.name)
def test_a_page_shows_what_its_commands_print(page):
    wrong = [
        (block.commands, pair)
        for block in pages.walked(page.read_text())
        if block.before is not None
        for pair in different(block.before, block.now)
    ]
    assert not wrong, "bring the pages up to date: python scripts/pages.py --write"


@pytest.mark.parametrize(
    ("now", "differs"),
    [
        ("layer 0  3.19e-02  PCC 0.9995  7 bad", False),
        ("layer 0  3.20e-02  PCC 0.9996  7 bad", False),
        ("layer 0  3.19e-02  PCC 0.9995  8 bad", True),
        ("layer 1  3.19e-02  PCC 0.9995  7 bad", True),
        ("layer 0  6.19e-02  PCC 0.9995  7 bad", True),
        ("layer 0  3.19e-02  PCC 0.9995", True),
        ("layer 0  3.19e-02  PCC 0.9995  7 bad\nmore", True),
    ],
)
def test_another_output_is_seen(now, differs):
    assert bool(different("layer 0  3.19e-02  PCC 0.9995  7 bad", now)) == differs


def test_times_are_no_difference():
    before = "=== 1 failed, 2 passed in 30.12s (0:00:30) ===\n  TTNN     3.1   2.2"
    assert not different(before, "== 1 failed, 2 passed in 9.1s ==\n  TTNN   30.1   9.7")


def test_a_command_that_fails_is_no_output(tmp_path):
    with pytest.raises(RuntimeError, match="exit status 3"):
        pages.printed("echo x; exit 3\n", str(tmp_path))
