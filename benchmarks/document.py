"""The stages of the bring-up, and the tables in the MODEL_BRINGUP.md of each, between two marks."""

import pathlib
import re
from collections.abc import Iterable, Sequence

from ttnn_verify.files import atomic

ROOT = pathlib.Path(__file__).parent.parent
STAGES = ("functional", "optimized")
BRINGUP = ROOT / "models/microsoft/Phi-3-mini-128k-instruct"


def model_file(stage: str, system: str = "n150") -> pathlib.Path:
    """The bring-up's file of one of `STAGES`."""
    return BRINGUP / system / stage / "model.py"


def page(stage: str, system: str = "n150") -> pathlib.Path:
    return BRINGUP / system / stage / "MODEL_BRINGUP.md"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Markdown lines of a table of texts."""
    line = "| " + " | ".join(header) + " |"
    return [line, "|---" * len(header) + "|", *("| " + " | ".join(row) + " |" for row in rows)]


def write(stage: str, name: str, lines: Iterable[str], system: str = "n150") -> None:
    """Put lines between `<!-- name -->` and `<!-- end of name -->` of a stage's page."""
    first, last = f"<!-- {name} -->", f"<!-- end of {name} -->"
    path = page(stage, system)
    text = path.read_text()
    if text.count(first) != 1 or text.count(last) != 1:
        raise ValueError(f"{path} has no place for a table: {first} and {last}, once each.")
    content = "\n".join([first, *lines, last])
    whole = re.sub(f"{first}.*{last}", lambda _: content, text, flags=re.DOTALL)
    atomic.write_text(path, whole)
