"""Values and errors of any kind as parts of a sentence: one line, of a length that one can read."""

import traceback
from collections.abc import Collection

LONGEST = 400  # characters of a whole sentence
LONGEST_VALUE = 60  # characters of a value in it


def shown(value: object, longest: int = LONGEST_VALUE) -> str:
    """A value as Python writes it, its middle left out where it is long."""
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - others' classes; a number of 5000 digits
        text = f"<{type(value).__name__} without a repr: {type(error).__name__}>"
    return shortened(text, longest)


def shortened(text: str, longest: int = LONGEST) -> str:
    """A text in one line of printable characters, its middle left out where it is long."""
    line = " ".join(text.split())
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    if len(line) <= longest:
        return line
    before = 2 * longest // 3
    return f"{line[:before]} ... {line[before - longest :]}"


def sentence(error: BaseException) -> str:
    """What an error says, as one sentence with its full stop."""
    text = shortened(said(error)) or type(error).__name__
    return text if text.endswith((".", ")", "!", "?")) else f"{text}."


def first_line(error: BaseException) -> str:
    """The first line of what an error says, without a full stop; "" where it says nothing."""
    lines = [line.strip() for line in said(error).splitlines() if line.strip()]
    return shortened(lines[0], LONGEST // 2).rstrip(".") if lines else ""


def described(error: BaseException, not_the_authors: Collection[str] = ()) -> str:
    """An exception in a line: its type, what it says first, and the author's line it came from.

    Args:
        not_the_authors: parts of the names of files that are not shown.
    """
    line = first_line(error)
    text = f"{type(error).__name__}: {line}" if line else type(error).__name__
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not any(part in frame.filename for part in not_the_authors)
    ]
    return text if not own else f"{text} ({own[-1].filename}:{own[-1].lineno})"


def said(error: BaseException) -> str:
    """What an error says, whatever it is."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - whatever its author's __str__ does
        return "an error that cannot be printed"
