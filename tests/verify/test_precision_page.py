"""The page of a search of precision, as text and as a browser shows it."""

import pytest

from ttnn_verify.precision import precision_text
from ttnn_verify.precision.result import PrecisionResult
from ttnn_verify.precision.searching import Budget
from ttnn_verify.report import precision_page

from .in_a_browser import CONTRASTS, SCHEMES, WIDTHS
from .report_samples import found


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "precision.html"
    path.write_text(precision_page.render(found()))
    return path


@pytest.fixture
def opened(browser, html):
    def page(width, scheme):
        shown = browser.new_page(viewport={"width": width, "height": 1000}, color_scheme=scheme)
        shown.goto(html.as_uri())
        return shown

    return page


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits_its_width(width, scheme, opened):
    shown = opened(width, scheme)
    assert shown.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", SCHEMES)
def test_all_text_on_the_heat_map_can_be_read(scheme, opened):
    shown = opened(1400, scheme)
    assert shown.locator(".heat").count() == 17
    (least, text), *_ = shown.evaluate(CONTRASTS)
    assert least >= 4.5, text


def test_points_are_sorted(opened):
    shown = opened(1400, "light")
    by_kl, first = shown.locator("th button", has_text="KL"), "#points-table tbody td"
    by_kl.click()
    assert shown.locator(first).first.inner_text() == "as it is"
    by_kl.click()
    assert shown.locator(first).first.inner_text() != "as it is"


def test_the_page_says_what_the_terminal_says(html):
    page, result = html.read_text(), found()
    for line in result.settings:
        assert line in page
    assert "within the budget" in page
    text = "\n".join(precision_text.lines(result))
    assert all(line in text for line in result.settings)


def test_sensitivities_alone_have_a_page():
    page = precision_page.render(found(budget=None))
    assert "What to change" not in page
    assert "bfloat8_b" in page


def test_a_budget_that_is_missed_elsewhere_is_said():
    result = found()
    assert result.checked is not None
    missed = PrecisionResult(
        result.sites, "bytes", result.points, result.sensitivities, Budget("kl", 1e-9),
        result.chosen, result.checked, about=result.about,
    )  # fmt: skip
    assert not missed.holds
    assert "beyond the budget" in precision_page.render(missed)
    assert "there it misses the budget, kl <= 1e-09" in "\n".join(precision_text.lines(missed))
