"""The pages as a browser shows them: at three widths, in light and dark, by keyboard, printed."""

import dataclasses
import io
import pathlib
import re

import numpy as np
import PIL.Image
import pytest

from ttnn_verify.report import content, glossary, plots, run_page, templating
from ttnn_verify.report.drift import drift_page
from ttnn_verify.report.drift.drift_record import DepthRecord, FindingRecord

from .in_a_browser import CONTRASTS, SCHEMES, WIDTHS
from .report_samples import DRIFT

REFERENCE = pathlib.Path(__file__).parent / "drift_page_dark_700.png"
SMALL = (140, 200)  # pixels of the reference: letters blur, so that other fonts do not matter
# Mean difference of a pixel, of 255. Serif letters instead of the usual ones made 2.4, a page
# without pictures 6.7, one without its stylesheet 219 (November 2026).
ALIKE = 5


@pytest.fixture(scope="module")
def drift_html(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "drift.html"
    path.write_text(drift_page.render(DRIFT))
    return path


@pytest.fixture
def opened(browser, drift_html):
    """Open the page of drift, or another one, at a width."""

    def page(width=700, scheme="light", html=drift_html):
        shown = browser.new_page(viewport={"width": width, "height": 1000}, color_scheme=scheme)
        shown.goto(html.as_uri())
        return shown

    return page


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_sticks_out_of_the_page(width, scheme, opened):
    shown = opened(width, scheme)
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    outside = shown.evaluate(
        """(width) => [...document.querySelectorAll("h1, h2, p, dl, .panel, .filter")]
            .filter((e) => e.getBoundingClientRect().right > width).map((e) => e.outerHTML)""",
        width,
    )
    assert outside == []


@pytest.mark.parametrize("width", [1100, 1200, 1400])
def test_no_column_of_the_tables_is_cut_off(width, opened, tmp_path):
    """Of calls with names and notes as long as they are."""
    call = FindingRecord(
        *("misused", "token at 1023, second sequence", 1234),
        "ttnn.transformer.an_operation_with_an_uncommonly_long_name",
        *(31, "attention", "attention", 0.123456, 0.912345, 123.4, 0.912345),
        "it computes rightly from what it is given: a constant or an argument is wrong",
        "chip 3 (1, 1)",
    )
    html = tmp_path / "long.html"
    layer = DepthRecord("layer 31", 1e-3, 2e-3, 0.912345, 0.0123456, 1.123456789, 1.234567e-9)
    record = dataclasses.replace(DRIFT, depth=(layer,), findings=(call, *DRIFT.findings))
    html.write_text(drift_page.render(record))
    widths = opened(width, html=html).evaluate(
        """[...document.querySelectorAll(".table")].map((e) => [e.scrollWidth, e.clientWidth])"""
    )
    assert len(widths) == 3
    assert all(needed <= there for needed, there in widths)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_all_text_can_be_read(scheme, opened):
    (least, text), *others = opened(1400, scheme).evaluate(CONTRASTS)
    assert len(others) > 100
    assert least >= 4.5, text


def test_text_of_pictures_is_no_smaller_than_8_pixels_at_700(opened):
    heights = opened(700).evaluate(
        """[...document.querySelectorAll("svg text")].map((e) =>
            parseFloat(getComputedStyle(e).fontSize) * e.getScreenCTM().a)"""
    )
    assert len(heights) > 5
    # exponents of the scale are smaller by design
    assert np.median(heights) >= 8


def test_as_many_values_as_a_layer_has_leave_the_picture_readable(opened, tmp_path):
    """Of 14 values with long names those are drawn that have a colour of their own."""
    entries = [
        {
            "op": f"layers.attention.a_long_name_{value}",
            "case": f"layer {layer}",
            "relative_l2": 0.01 * (value + 1),
            "used": None,
            "histogram": None,
        }
        for value in range(14)
        for layer in range(4)
    ]
    rows = [content.CaseRow("", "layers", entry, None) for entry in entries]
    drawn = run_page.pictures(rows)
    assert (drawn["shown"], drawn["others"]) == (6, 8)
    html = tmp_path / "picture.html"
    page = drift_page.render(DRIFT)
    html.write_text(re.sub(r"<svg.*?</svg>", lambda _: drawn["depth"], page, flags=re.DOTALL))
    heights = opened(700, html=html).evaluate(
        """[...document.querySelectorAll("svg text")].map((e) =>
            parseFloat(getComputedStyle(e).fontSize) * e.getScreenCTM().a)"""
    )
    assert len(heights) > 5
    assert np.median(heights) >= 8


def test_a_point_does_not_hide_an_equal_one():
    picture = plots.over_depth({name: [(0, 0.1)] for name in "abc"})
    sizes = {
        max(map(float, re.findall(r"-?[\d.]+", path)))
        for path in re.findall(r'<path id="m\w+" d="([^"]+)"', picture)
        if "C" in path  # a circle, no tick
    }
    assert len(sizes) == 3


def test_a_word_is_explained_on_hover_and_on_focus(opened):
    shown = opened()
    says = shown.locator("#says")
    assert not says.is_visible()
    shown.locator("dl.figures abbr", has_text="misused").hover()
    assert says.inner_text() == glossary.TERMS["misused"]
    shown.mouse.move(0, 0)
    assert not says.is_visible()
    shown.get_by_role("button", name="tolerance used").focus()
    assert says.inner_text() == glossary.TERMS["tolerance used"]
    shown.keyboard.press("Escape")
    assert not says.is_visible()


def test_every_word_can_be_reached_by_keyboard(opened):
    unreached = opened().evaluate(
        """[...document.querySelectorAll("abbr")].filter((e) =>
            (e.closest("button") ?? e).tabIndex !== 0).map((e) => e.textContent)"""
    )
    assert unreached == []


def test_calls_are_sorted_and_filtered_without_a_network(opened):
    shown = opened(1400)

    def column(number):
        return shown.locator(f"#calls tbody tr:visible td:nth-child({number})").all_inner_texts()

    shown.get_by_role("button", name="PCC").click()
    assert column(5)[:3] == ["ttnn.linear", "ttnn.mul", "ttnn.add"]
    shown.get_by_label("status", exact=True).select_option("no-golden")
    assert column(5) == ["ttnn.eq"]
    assert shown.locator(".count").inner_text() == "1 of 5"
    shown.get_by_label("status", exact=True).select_option("")
    shown.get_by_label("layer", exact=True).select_option("1")
    assert sorted(column(5)) == ["ttnn.eq", "ttnn.linear"]


def test_a_printed_page_is_light_and_whole(opened):
    shown = opened(700, "dark")
    shown.emulate_media(media="print", color_scheme="dark")
    style = "(e) => { const s = getComputedStyle(e); return [s.maxHeight, s.overflowX]; }"
    assert shown.locator(".table").last.evaluate(style) == ["none", "visible"]
    assert not shown.locator(".filter").is_visible()
    # or the headings are missing where the table goes on, on another sheet
    buttons = "(all) => all.map((e) => getComputedStyle(e).display)"
    assert set(shown.locator("thead button").evaluate_all(buttons)) == {"contents"}
    least, text = shown.evaluate(CONTRASTS)[0]
    assert least >= 4.5, text
    assert shown.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(252, 252, 251)"
    assert shown.pdf(format="A4").startswith(b"%PDF")


def test_of_a_long_table_paper_has_the_worst_rows_and_all_that_failed(opened, tmp_path):
    fine = FindingRecord("ok", "prompt", 3, "ttnn.add", 0, "attention", "x", 0.01, 0.99, 0.4)
    html = tmp_path / "long.html"
    findings = (*DRIFT.findings, *(dataclasses.replace(fine, call=n) for n in range(150)))
    html.write_text(drift_page.render(dataclasses.replace(DRIFT, findings=findings)))
    shown = opened(700, html=html)
    rows, note = shown.locator("#calls tbody tr:visible"), shown.locator(".paper")
    assert (rows.count(), note.is_visible()) == (len(findings), False)
    shown.emulate_media(media="print")
    unjudged = shown.locator("#calls tbody tr.unjudged:visible").count()
    assert unjudged == 2
    assert (rows.count(), note.is_visible()) == (templating.PRINTED + unjudged, True)
    assert f"of the {len(findings)} rows the first {templating.PRINTED}," in note.inner_text()


# --- looked at -----------------------------------------------------------------------------------


def small(shown):
    """The upper part of the page as few grey pixels `[H, W]`."""
    picture = PIL.Image.open(io.BytesIO(shown.screenshot()))
    return picture.convert("L").resize(SMALL, PIL.Image.Resampling.BOX)


def difference(one, other):
    return float(np.abs(np.asarray(one, float) - np.asarray(other, float)).mean())


def test_the_page_looks_as_it_did(opened):
    """To accept another look: save `small` of the page as the reference, and look at it."""
    with PIL.Image.open(REFERENCE) as reference:
        assert difference(small(opened(700, "dark")), reference) <= ALIKE


@pytest.mark.parametrize(
    ("broken", "by"),
    [
        (r"<style>.*?</style>", ""),
        (r"--panel: #1d2023", "--panel: #40464c"),
        (r"<svg", "<svg style='display: none'"),
    ],
    ids=["no stylesheet", "another colour", "no pictures"],
)
def test_another_look_is_seen(broken, by, opened, drift_html, tmp_path):
    html = tmp_path / "broken.html"
    html.write_text(re.sub(broken, by, drift_html.read_text(), flags=re.DOTALL))
    with PIL.Image.open(REFERENCE) as reference:
        assert difference(small(opened(700, "dark", html)), reference) > ALIKE


# --- words ---------------------------------------------------------------------------------------


def test_each_term_has_a_sentence_and_each_page_explains_those_it_uses():
    assert all(says.endswith(".") for says in glossary.TERMS.values())
    text = drift_page.render(DRIFT)
    used = set(re.findall(r'<abbr title="[^"]+"[^>]*>([^<]+)</abbr>', text))
    words = text.partition('id="words"')[2]
    assert {"PCC", "relative L2", "gain", "update", "isolated", "no-golden", "tool-error"} <= used
    assert set(re.findall(r"<dt>([^<]+)</dt>", words)) == used


def test_every_term_is_on_a_page():
    templates = "".join(file.read_text() for file in templating.FOLDER.iterdir())
    shown = drift_page.render(DRIFT)
    missing = [
        word
        for word in glossary.TERMS
        if f'"{word}"' not in templates and f">{word}</abbr>" not in shown
    ]
    assert missing == []


# --- pictures ------------------------------------------------------------------------------------


def test_a_line_joins_neighbours_alone():
    """Between layers 0 and 3 nothing was measured."""
    assert plots.runs([(3, 0.3), (0, 0.1), (1, 0.2)]) == [[(0, 0.1), (1, 0.2)], [(3, 0.3)]]

    def drawn(points):
        """How many points each line of the picture goes through; the legend's has two."""
        picture = plots.over_depth({"error": points})
        lines = re.findall(r'<g id="line2d_\d+">\s*<path d="([^"]+)" clip-path', picture)
        return sorted(len(re.findall(r"[ML] ", line)) for line in lines)

    assert drawn([(0, 0.1), (1, 0.2), (2, 0.1), (3, 0.3)]) == [2, 4]
    assert drawn([(0, 0.1), (3, 0.3)]) == [1, 1, 2]


def test_what_used_far_more_than_its_tolerance_stands_apart_from_the_scale():
    assert ">more<" in plots.shares([0.2, 9.0])
