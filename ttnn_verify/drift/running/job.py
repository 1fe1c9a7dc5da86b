"""The work of a command of drift: models are built, and run along what there is to run along."""

import argparse
import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ttnn_verify import drift, jobs
from ttnn_verify.drift import reuse
from ttnn_verify.drift.observation.walk import SEVERAL
from ttnn_verify.drift.progress import Progress
from ttnn_verify.drift.running.beside import Beside, Ends, has_room
from ttnn_verify.drift.stretches import Order, Stretches, too_large
from ttnn_verify.huggingface import inputs

if TYPE_CHECKING:
    import ttnn

    from ttnn_verify.drift import DriftResult, OpFinding, Session
    from ttnn_verify.drift.attribution import Share
    from ttnn_verify.drift.search import SearchResult

ROWS = 2  # of a batch


@dataclasses.dataclass(frozen=True)
class Task:
    """What there is to do. No model on the device outlives the method that builds it.

    Attributes:
        args: of the command.
        hf_model: in float32, of eager attention.
        ids: `[1, S]`, the prompt and the tokens after it.
    """

    args: argparse.Namespace
    bringup: jobs.Bringup
    hf_model: Any
    ids: torch.Tensor

    @contextlib.contextmanager
    def begun(
        self, session: "Session", farther: "Beside[Stretches] | None" = None
    ) -> "Iterator[Job]":
        """The job on a device that is open within."""
        earlier = contextlib.nullcontext() if self.args.no_reuse else reuse.opened()
        with self.bringup.open_device() as device, jobs.model_runs("the model"), earlier as kept:
            session = dataclasses.replace(session, kept=kept)
            yield Job(self, device, session, farther)

    @contextlib.contextmanager
    def beside(self) -> "Iterator[Beside[Stretches] | None]":
        """Another process that does what is farther on, if there can be one; it ends with this.

        A card is opened once. What is captured of a bad call is where the call was.
        """
        parameters = sum(parameter.numel() for parameter in self.hf_model.parameters())
        apart = self.args.own_process and self.bringup.backend == "emulated"
        whole = not (self.args.frugal or self.args.reproduce)
        if not (apart and whole and has_room(parameters)):
            yield None
            return
        process = Beside(self._farther)
        try:
            yield process
        finally:
            process.stop()

    def _farther(self, progress: Progress, ends: Ends) -> Stretches:
        with self.begun(drift.Session(self.args.accurate, progress=progress)) as job:
            return job.farther(ends.last)

    @property
    def two_rows(self) -> bool:
        """Whether a model is to be built for two rows."""
        return self.bringup.takes_batch

    @property
    def far(self) -> bool:
        """Whether a model is to be built for more positions than the first one."""
        return self.args.longest > self.bringup.max_seq_len and not self.too_large

    @property
    def too_large(self) -> str:
        """Why no model is built for far positions; "" if one is."""
        return "" if self.args.thorough else too_large(self.hf_model, self.args.longest)


@dataclasses.dataclass(frozen=True)
class Job:
    """A task on an open device.

    Attributes:
        beside: the process that does what is farther on, if one does.
    """

    task: Task
    device: "ttnn.Device"
    session: "Session"
    beside: "Beside[Stretches] | None" = None

    def halved(self) -> "SearchResult":
        """What halving finds."""
        return drift.halve(self._build(), *self._measured, self.session)

    def first(self) -> "OpFinding | None":
        """The first bad operation, None if there is none."""
        model = self._build()
        found = drift.locate(model, *self._measured, self.session)
        if found is not None:
            return found
        more = self._along_as_it_is(model)
        del model
        return (more or self._with_the_other()).first

    def whole(self) -> "tuple[DriftResult, Sequence[Share]]":
        """The result, and the shares if they are asked for."""
        model = self._build()
        result = drift.measure(model, *self._measured, self.session)
        shares: Sequence[Share] = ()
        if self.task.args.attribution:
            shares = drift.attribute(model, *self._measured, self.session)
        if result.first:
            return result, shares
        more = self._along_as_it_is(model)
        del model
        return drift.with_further(result, more or self._with_the_other()), shares

    def farther(self, order: Order = tuple) -> Stretches:
        """What is found by a model built for more positions and for two rows, where it can be.

        Args:
            order: of the stretches, see `stretches.run`.
        """
        task = self.task
        positions = task.args.longest if task.far else task.bringup.max_seq_len
        longer = dataclasses.replace(task.bringup, max_seq_len=positions)
        rows = ROWS if task.two_rows else 1
        try:
            model = self._build(longer, rows)
        except inputs.ModelFails as error:
            found = self._along(self._build(), task.bringup.max_seq_len, order=order)
            beside = f", {rows} rows" if task.two_rows else ""
            found.left_out[f"{positions} positions{beside}"] = str(error)
            return found
        return self._along(model, positions, rows, order)

    def _along_as_it_is(self, model: Any) -> Stretches | None:
        """What is farther on, if this model can be run there and nobody else does it."""
        if self.beside or self.task.two_rows or self.task.far:
            return None
        return self._along(model, self.task.bringup.max_seq_len)

    def _with_the_other(self) -> Stretches:
        """What is farther on, of which the other process, if there is one, does what it can."""
        if self.beside is None:
            return self.farther()
        near = self.farther(self.beside.ends.first)
        if self.task.args.first and near.first:
            return near
        far = self.beside.result(self.session.progress)
        if far is None:
            far = self.farther(self.beside.ends.taken_last)
        return near.and_then(far)

    def _build(self, bringup: jobs.Bringup | None = None, rows: int = 1) -> Any:
        """A model, where all of the device's memory is free in one piece.

        Programs that TTNN keeps have tensors of their own there, as ttnn.reshape's do.
        """
        self.device.clear_program_cache()
        return (bringup or self.task.bringup).build(self.task.hf_model, self.device, rows)

    @property
    def _measured(self) -> tuple[Any, torch.Tensor, int]:
        return self.task.hf_model, self.task.ids, self.task.args.decoded

    def _along(self, model: Any, positions: int, rows: int = 1, order: Order = tuple) -> Stretches:
        """What is found by a model that is built for so many positions and rows."""
        done = [SEVERAL] if rows == 1 else []
        first, task = self.task.args.first, self.task

        def those(labels: Sequence[str]) -> Iterable[str]:
            return order([label for label in labels if label not in done])

        found = drift.further(model, *self._measured, positions, first, self.session, those)
        if task.too_large:
            found.left_out[f"{task.args.longest} positions"] = task.too_large
        return found
