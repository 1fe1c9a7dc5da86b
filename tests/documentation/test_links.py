"""The README is short, every page can be reached from it, and every link leads somewhere."""

import pytest

from tests.documentation import markdown
from tests.documentation.markdown import PAGES, README
from tests.support.checkpoint import ROOT

MOST_LINES = 120

every_page = pytest.mark.parametrize("page", PAGES, ids=markdown.name)


def test_the_readme_is_short():
    assert len(README.read_text().splitlines()) < MOST_LINES


@every_page
def test_links_lead_somewhere(page):
    assert markdown.broken_links(page) == []


def test_the_readme_links_every_page():
    linked = {(ROOT / target.partition("#")[0]).resolve() for target in linked_from_readme()}
    assert [markdown.name(page) for page in PAGES if page != README and page not in linked] == []


def linked_from_readme():
    return markdown.links(README.read_text())


@every_page
def test_files_that_a_page_names_exist(page):
    rooms = {path.name for path in ROOT.iterdir() if path.is_dir()} - {"reports"}
    code = [text for text in markdown.inline(page.read_text()) if set(text) <= PATH]
    named = {text for text in code if text.partition("/")[0] in rooms and "/" in text}
    named = {text.partition("::")[0] for text in named if "/ORG/" not in text}
    assert [text for text in sorted(named) if not (ROOT / text).exists()] == []


PATH = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:")


# --- the rules themselves ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[a](other.md)", []),
        ("[a](other.md#a-heading-of-it) [b](#here)\n# Here", []),
        ("[a](nowhere.md)", ["nowhere.md: no such file"]),
        ("[a](other.md#nowhere)", ["other.md#nowhere: no such heading"]),
        ("[a](#nowhere)", ["#nowhere: no such heading"]),
        ("[a](https://example.org/x.md) `[b](x.md)`\n```\n[c](x.md)\n```\n", []),
    ],
)
def test_a_broken_link_is_seen(tmp_path, text, wrong):
    (tmp_path / "other.md").write_text("# Other\n## A heading, of it\n")
    page = tmp_path / "page.md"
    page.write_text(text)
    assert markdown.broken_links(page) == wrong
