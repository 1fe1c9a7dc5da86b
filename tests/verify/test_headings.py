"""Every page says what each column of its tables is, and sorts by each that can be clicked."""

import json

import pytest

from ttnn_verify.report import precision_page
from ttnn_verify.report.drift import drift_page

from .report_samples import DRIFT, FIGURES, found

pytest_plugins = ["pytester"]


@pytest.fixture(params=["drift", "precision", "run"])
def page(request, tmp_path, suite):
    """Each page with rows in all of its tables."""
    path = tmp_path / "page.html"
    if request.param == "run":
        suite.run(FIGURES, "--report", str(path))
    else:
        text = {"drift": lambda: drift_page.render(DRIFT)} | {
            "precision": lambda: precision_page.render(found())
        }
        path.write_text(text[request.param]())
    return path


@pytest.fixture
def shown(page, browser):
    """A page in a browser, and what its script complains of."""
    opened = browser.new_page(viewport={"width": 1400, "height": 1000})
    opened.complaints = []
    opened.on("pageerror", lambda error: opened.complaints.append(str(error)))
    opened.goto(page.as_uri())
    return opened


def test_every_heading_explains_itself(shown):
    headings = shown.locator("thead th")
    assert headings.count() >= 6
    for heading in headings.all():
        heading.scroll_into_view_if_needed()
        shown.mouse.move(0, 0)
        heading.locator("abbr").hover()
        assert shown.locator("#says").inner_text().endswith("."), heading.inner_text()
    assert shown.complaints == []


def test_every_column_that_can_be_clicked_sorts_both_ways(shown):
    """By what it shows: figures by their size, words by the alphabet, nothing at the end."""
    table = shown.locator("table.sortable")
    for number, heading in enumerate(table.locator("thead th").all()):
        if not heading.locator("button").count():
            continue
        sorts = []
        for _ in range(2):
            heading.locator("button").click()
            sorts.append((heading.get_attribute("aria-sort"), values(table, number)))
        assert {direction for direction, _ in sorts} == {"ascending", "descending"}
        for direction, found_there in sorts:
            known = [one for one in found_there if one != ""]
            assert known == sorted(known, reverse=direction == "descending"), direction
            assert found_there == known + [""] * (len(found_there) - len(known))
    assert shown.complaints == []


def values(table, number):
    """What the rows of a table are sorted by in a column, top down."""
    return json.loads(
        table.evaluate(
            """(table, number) => JSON.stringify([...table.tBodies[0].rows].map((row) => {
                const cell = row.cells[number];
                const text = cell.dataset.value ?? cell.textContent.trim().toLowerCase();
                const figure = "value" in cell.dataset && text !== "";
                return figure ? Math.min(Number(text), 1e300) : text; // JSON has no infinity
            }))""",
            number,
        )
    )
