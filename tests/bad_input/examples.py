"""What is tried in place of a right input: an `Example`, JSON of any kind."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

FOLDER = object()  # stands in for a file's contents: a folder of that name

Contents = bytes | None | object  # None: no such file


@dataclasses.dataclass(frozen=True)
class Example:
    """A wrong input, perhaps.

    Attributes:
        what: is wrong, in words, for the output of a failing test.
        files: name in the checkpoint's folder -> contents, instead of those that are right.
        model_py: the model file's source; None for the right one.
        options: at the end of the command line.
    """

    what: str
    files: Mapping[str, Contents] = dataclasses.field(default_factory=dict)
    model_py: Contents = None
    options: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<{self.what}>"


# --- values --------------------------------------------------------------------------------------

INTEGERS = (0, -1, 1, 2, 3, 33, 64, 65, 128, 10**6, 2**31, 2**63, 10**26, 10**400)
FLOATS = (0.0, -1.0, 0.5, 1e-45, 1e300, float("nan"), float("inf"), -float("inf"))
TEXTS = ("", "many", "64", "None", "\x00", "\ud7ff", "../..", "9" * 40, "phi3", "cuda")


def any_of(*strategies: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """One of the strategies, each as often as it is named: st.one_of counts their own parts."""
    return st.sampled_from(strategies).flatmap(lambda strategy: strategy)


def values() -> st.SearchStrategy[Any]:
    """JSON values: those of the tables, and lists and objects of them."""
    plain = st.one_of(
        st.none(),
        st.booleans(),
        st.sampled_from(INTEGERS),
        st.sampled_from(FLOATS),
        st.sampled_from(TEXTS),
    )
    several = st.lists(plain, max_size=3)
    named = st.dictionaries(st.sampled_from(("rope_type", "type", "factor", "x")), plain)
    return st.one_of(plain, several, named, st.lists(several, max_size=2))


def documents(right: bytes) -> st.SearchStrategy[Contents]:
    """What may lie where a JSON document should: none, half of one, another encoding, garbage."""
    text = right.decode()
    table = (
        None,
        FOLDER,
        b"",
        b"{",
        b"{}",
        b"[]",
        b"null",
        b"5",
        b'"x"',
        b"not json",
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"\xef\xbb\xbf" + right,
        text.encode("utf-16"),
        text.encode("latin-1") + b"\xff",
        right + right,
        right[: len(right) // 2],
        b"\x00" * 64,
        right.replace(b"64", b"9" * 5000),
    )
    cut = st.integers(0, len(right)).map(lambda size: right[:size])
    return st.one_of(st.sampled_from(table), cut, st.binary(max_size=64))


def shown(contents: Contents) -> str:
    if contents is FOLDER:
        return "a folder"
    shown = repr(contents)
    return shown if len(shown) < 80 else f"{shown[:80]}... ({len(shown)} characters)"
