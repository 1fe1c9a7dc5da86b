"""How runs of drift judge, what they know of earlier ones, whom they tell how far they are."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ttnn_verify.drift.finding import OpFinding
from ttnn_verify.drift.judgement import judging
from ttnn_verify.drift.mesh import on_chips
from ttnn_verify.drift.observed import Observed
from ttnn_verify.drift.progress import Call, Progress
from ttnn_verify.drift.reuse import Kept
from ttnn_verify.huggingface import recording
from ttnn_verify.huggingface.hf_values import RecordedPass
from ttnn_verify.numerics.floors import Floor

if TYPE_CHECKING:
    from ttnn_verify.drift.isolated import Walked


@dataclasses.dataclass(frozen=True)
class Session:
    """What runs of drift share.

    Attributes:
        accurate: judge products and norms as if they had been called with the most accurate compute
            configuration, not by the one that they were called with.
        kept: results of earlier runs, which are used again; None computes all.
        progress: is told how far the runs are.
        on_bad: called with each bad call when it is found, and with the walk, which still has the
            calls that it is about; calls are then kept as they were given.
    """

    accurate: bool = False
    kept: Kept | None = None
    progress: Progress | None = None
    on_bad: "Callable[[OpFinding, Walked], None] | None" = None

    def record(self, hf_model: Any, ids: torch.Tensor) -> RecordedPass:
        """As `recording.record`."""
        return (self.kept.passes.record if self.kept else recording.record)(hf_model, ids)

    def own_verdicts(self, observed: Observed) -> judging.OwnVerdicts:
        """As `judging.own_verdicts`, of each chip."""
        judge = self.kept.verdicts.own_verdicts if self.kept else judging.own_verdicts
        return on_chips.own_verdicts(observed, lambda one: judge(one, self.accurate))

    def floor(
        self, measure: Callable[[Any, torch.Tensor], Floor], hf_model: Any, ids: torch.Tensor
    ) -> Floor:
        """`measure(hf_model, ids)`"""
        if self.kept is None:
            return measure(hf_model, ids)
        return self.kept.passes.floor(measure, hf_model, ids)

    def begin(self, phase: str, calls: Sequence[Call]) -> None:
        """Tell the progress that a phase begins."""
        if self.progress is not None:
            self.progress.begin(phase, calls)

    def call(self, number: int) -> None:
        """Tell the progress that a call of it begins."""
        if self.progress is not None:
            self.progress.call(number)
