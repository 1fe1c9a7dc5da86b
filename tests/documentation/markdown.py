"""The pages of this repository, and what stands in them: blocks, links, headings, code."""

import re
from pathlib import Path
from typing import NamedTuple

from tests.support.checkpoint import ROOT

README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [
    README,
    *(ROOT / name for name in ("ARCHITECTURE.md", "CONTRIBUTING.md", "ttnn_emulator/README.md")),
    *DOCS,
    *sorted((ROOT / "examples").rglob("*.md")),
]


def name(page: Path) -> str:
    """A page as test ids and messages have it."""
    return str(page.relative_to(ROOT))


class Fence(NamedTuple):
    """A fenced block: its language, "" for none, and its text."""

    language: str
    text: str


FENCE = re.compile(r"(?ms)^```(\w*)\n(.*?)^```$")


def fences(text: str) -> list[Fence]:
    return [Fence(*found) for found in FENCE.findall(text)]


def prose(text: str) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", text)


def inline(text: str) -> list[str]:
    """What stands between backquotes in the prose, on one line each."""
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose(text))]


def links(text: str) -> list[str]:
    """Targets of the links in the prose, but those to other hosts."""
    targets = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", prose(text)))
    return [target for target in targets if not re.match(r"\w+:", target)]


def anchors(text: str) -> set[str]:
    """What a link may name of a page after #: its headings, as GitHub writes them."""
    headings = re.findall(r"(?m)^#+ (.*)$", prose(text))
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


def broken_links(page: Path) -> list[str]:
    """Relative links of a page to no file, or to no heading of it."""
    wrong = []
    for target in links(page.read_text()):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists():
            wrong.append(f"{target}: no such file")
        elif anchor and anchor not in anchors(file.read_text()):
            wrong.append(f"{target}: no such heading")
    return wrong
