"""What of a model's run a test is about: a prompt of some length, or the decoding of tokens."""

import dataclasses

from ttnn_verify.drift.observation.walk import ModelCall

DECODE = "decode"


def phase_of(call: ModelCall) -> str:
    """The name of the phase that a call of the model belongs to: "prefill64" or "decode"."""
    if call.start:
        return DECODE if call.count == 1 else f"prefill{call.count}after{call.start}"
    return f"prefill{call.count}"


@dataclasses.dataclass(frozen=True)
class Phase:
    """A phase as the model ran through it when the tests were collected.

    Attributes:
        name: see `phase_of`.
        length: of the walk's prompt, which identifies the walk.
        operations: short names of the operations with results to judge, in the order of their
            first calls.
        skipped: why there is nothing to test; "" if there is.
        failed: how the model failed in it, in a sentence; "" if it did not.
    """

    name: str
    length: int
    operations: tuple[str, ...] = ()
    skipped: str = ""
    failed: str = ""

    @property
    def ran(self) -> bool:
        return not self.skipped and not self.failed
