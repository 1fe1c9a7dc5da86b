"""Tier e2e: the whole model against Hugging Face's, and against itself."""

from typing import Any, NoReturn

import pytest
import torch

from ttnn_verify import jobs
from ttnn_verify.huggingface import accuracy, inputs
from ttnn_verify.numerics import floors, tolerance
from ttnn_verify.pytest_plugins import comparisons
from ttnn_verify.suite import bounds, figures
from ttnn_verify.suite.plugin import proceed
from ttnn_verify.suite.subject import DECODED, Subject

# Tokens of a prompt about whole tiles of 32: one, two, a row less, a row more.
LENGTHS = (1, 31, 32, 33, 63, 64, 65)

BATCH = (2, 33)  # rows, tokens of each
GENERATED = 16  # tokens
CROSSED = 2  # tokens before and after the length from which on LongRoPE takes its long factors
LONG_ROPE = ("longrope", "su")

every_length = pytest.mark.parametrize("length", LENGTHS, ids=lambda n: f"prefill{n}")


def fail(lines: str | list[str]) -> NoReturn:
    pytest.fail(lines if isinstance(lines, str) else "\n".join(lines), pytrace=False)


def room(subject: Subject, length: int, decoded: int = 0) -> None:
    """Skip a test of more tokens than the model has positions; fail where it cannot be built."""
    proceed(subject.first_run.phases[0]) if not subject.is_built else None
    reason = subject.unfit(length, decoded)
    if reason:
        pytest.skip(reason)


class LogitsCheck:
    """Compares logits of a test, and keeps what was wrong with them."""

    def __init__(self, name: str, record_property: Any) -> None:
        self.name, self.record, self.wrong = name, record_property, []

    def rows(
        self, case: str, expected: torch.Tensor, actual: torch.Tensor, floor: floors.Floor
    ) -> None:
        """Compare rows `[R, V]`."""
        verdict, entry = figures.judged(f"e2e.{self.name}", case, expected, actual, floor)
        self.record(*entry)
        if not verdict.passed:
            self.wrong.append(f"{case}: {verdict.line}")

    def last_rows(self, case: str, bound: bounds.BoundedLogits, actual: torch.Tensor) -> None:
        """Compare rows `[R, V]` with the last ones of a text."""
        self.rows(case, bound.exact[-len(actual) :], actual, bound.floor(len(actual)))

    def end(self) -> None:
        if self.wrong:
            fail(self.wrong)
