"""The model under test: built once in a process, run once to see what it does, walked on demand."""

import contextlib
import dataclasses
import functools
import inspect
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ttnn_verify import backend, jobs, sentences
from ttnn_verify.huggingface import as_called, inputs, model_results
from ttnn_verify.huggingface.as_called import CalledProduct

backend.quiet()  # before ttnn, which the modules below import

from ttnn_verify.drift import isolated
from ttnn_verify.drift.expected_values import ExpectedValues
from ttnn_verify.drift.finding import OpFinding
from ttnn_verify.drift.observation import reading, taps, walk
from ttnn_verify.huggingface.hf_values import HfValue
from ttnn_verify.numerics.compute_config import ComputeConfig
from ttnn_verify.ops import expected, table
from ttnn_verify.suite import bounds
from ttnn_verify.suite.phases import DECODE, Phase, phase_of
from ttnn_verify.suite.settings import SubjectSettings

DECODED = 3  # tokens after the longest prompt, each a call of its own

Watch = contextlib.AbstractContextManager[None]


@dataclasses.dataclass(frozen=True)
class FirstRun:
    """The first run of the model.

    Attributes:
        phases: of all walks, without repetition.
        fresh: the logits `[1, S, V]` of each call along the longest prompt, on a model that had
            computed nothing before.
    """

    phases: tuple[Phase, ...]
    fresh: tuple[torch.Tensor, ...]


class Subject:
    """A model file's model on the device, and what is known of it. All parts are made when needed.

    Args:
        open_device: opens the device, or returns the open one.
        watch: around what runs on the device outside of a test.
    """

    def __init__(
        self, settings: SubjectSettings, open_device: Callable[[], Any], watch: Callable[[], Watch]
    ) -> None:
        self.settings = settings
        self._open_device, self._watch = open_device, watch
        self._model: Any = None
        self._products: set[CalledProduct] = set()
        self._walks: dict[int, tuple[OpFinding, ...] | Exception] = {}

    def release(self) -> None:
        """Forget the model, whose tensors lie on the device."""
        self._model = None

    # --- the two models -------------------------------------------------------------------------

    @functools.cached_property
    def hf_model(self) -> Any:
        """Hugging Face's, float32 on the host."""
        hf_model = self.settings.checkpoint.hf_model(torch.float32, _warn)
        hf_model.set_attn_implementation("eager")
        return hf_model

    @property
    def model(self) -> Any:
        """The one on the device. Raises inputs.ModelFails, again where it failed before."""
        if self._model is None:
            try:
                self._model = self.settings.bringup.build(self.hf_model, self._open_device())
            except inputs.ModelFails as error:
                self._model = error
        if isinstance(self._model, inputs.ModelFails):
            raise self._model
        return self._model

    @functools.cached_property
    def capacity(self) -> int:
        """How many positions the model has."""
        limit = self.settings.bringup.max_seq_len
        model = self.model
        with jobs.model_runs("the model's max_length"):
            return min(limit, model_results.capacity_of(model, limit))

    def ids(self, length: int, first: int = 0) -> torch.Tensor:
        """`length` token ids `[1, length]` of the text, from its token `first` on."""
        text = self.settings.text
        return text.repeat(1, -(-(first + length) // text.shape[1]))[:, first : first + length]

    def run(self, ids: torch.Tensor, past: Any = None) -> tuple[torch.Tensor, Any]:
        """A call of the model on ids `[B, S]`: float32 logits `[B, S or 1, V]`, and its cache.

        Raises:
            inputs.ModelFails: whatever the model raises.
        """
        names = inspect.signature(getattr(self.model, "forward", self.model)).parameters
        kwargs = {"use_cache": True} if "use_cache" in names else {}
        with torch.no_grad(), jobs.model_runs("the model"):
            out = self.model(input_ids=ids, past_key_values=past, **kwargs)
            return out.logits.float(), out.past_key_values

    @functools.cached_property
    def noise(self) -> float:
        """The factor on the error of a pass in bfloat16 that the model's own settings make."""
        _ = self.first_run  # which sees how the model calls its products
        ids = self.ids(min(self.settings.lengths[0], self.capacity))
        products = self._products
        if self.settings.bringup.arithmetic == "rounded":  # which knows no compute config
            products = {CalledProduct(None, product.weights) for product in products}
        return as_called.factor(self.hf_model, ids, products)

    def bounds(self, ids: torch.Tensor) -> bounds.BoundedLogits:
        """Hugging Face's logits of ids `[1, S]`, and how far off the model's may be."""
        return bounds.bounded_logits(self.hf_model, ids, self.noise)

    # --- walks ----------------------------------------------------------------------------------

    def unfit(self, length: int, decoded: int = 0) -> str:
        """Why the model cannot take a prompt and tokens after it, "" if it can."""
        if length + decoded <= self.capacity:
            return ""
        after = f" and {decoded} tokens after it" if decoded else ""
        return f"a prompt of {length} tokens{after}: the model has {self.capacity} positions."

    def _decoded(self, length: int) -> int:
        """Tokens that are decoded after a prompt: after the longest that leaves room for them."""
        fitting = (n for n in self.settings.lengths if not self.unfit(n, DECODED))
        return DECODED if length == next(fitting, None) else 0

    def sequences(self, length: int) -> list[walk.TokenSequence]:
        """What a walk goes along."""
        decoded = self._decoded(length)
        sequences = walk.sequences(self.ids(length + decoded), decoded)
        sequences = [one for one in sequences if not one.optional]  # the e2e tier has its own batch
        # the sequence that reveals what is left over from the first one belongs to one walk
        return sequences if decoded or len(self.settings.lengths) == 1 else sequences[:1]

    def calls(self) -> list[torch.Tensor]:
        """The ids `[1, S]` of each call along the prompt of the first walk that was made."""
        length = next(phase.length for phase in self.first_run.phases if phase.ran)
        sequence = self.sequences(length)[0]
        return [part[None] for part in sequence.rows[0].split([n for (n,) in sequence.counts])]

    @functools.cached_property
    def first_run(self) -> FirstRun:
        """The model's first run, along all walks; no value is read but the logits."""
        phases: dict[str, Phase] = {}
        fresh: list[torch.Tensor] = []
        with self._watch():
            for length in self.settings.lengths:
                found, logits = self._tried(length)
                if not any(phase.failed for phase in phases.values()):
                    fresh = fresh or logits
                for phase in found:
                    phases.setdefault(phase.name, phase)
        return FirstRun(tuple(phases.values()), tuple(fresh))

    def _tried(self, length: int) -> tuple[list[Phase], list[torch.Tensor]]:
        """The phases of a walk, and the logits of its first sequence; a phase that says why not."""
        name = f"prefill{length}"
        try:
            reason = self.unfit(length)
            if reason:
                return [Phase(name, length, skipped=reason)], []
            found, logits = self._sighted(length)
        except (inputs.BadInput, inputs.ModelFails, jobs.Undetermined) as error:
            return [Phase(name, length, failed=sentences.sentence(error))], []
        reason = self.unfit(min(self.settings.lengths), DECODED)
        return [*found, *([Phase(DECODE, length, skipped=reason)] if reason else [])], logits

    def _sighted(self, length: int) -> tuple[list[Phase], list[torch.Tensor]]:
        """What `_tried` returns of a walk that the model has room for."""
        sequences, logits = self.sequences(length), []
        names: dict[str, dict[str, None]] = {}  # phase -> its operations, in order
        current: dict[str, None] = {}

        def observe(call: taps.TtnnCall, run: Callable[[], Any]) -> Any:
            spec = table.spec_of(call.name)
            if spec.kind == "product":
                config = call.kwargs.get("compute_kernel_config")
                self._products.add(called_product(config, call.operands))
            if spec.judged:
                current.setdefault(table.short_name(call.name))
            return run()

        def begin(call: walk.ModelCall) -> None:
            nonlocal current
            current = names.setdefault(phase_of(call), {})

        def end(call: walk.ModelCall, returned: torch.Tensor) -> None:
            if call.sequence == 0:
                logits.append(returned.float())

        model = self.model
        with jobs.model_runs("the model"), taps.intercept(observe):
            walk.lead(model, sequences, begin, end)
        if not any(names.values()):
            raise jobs.Undetermined("the model calls no operation of TTNN.")
        return [Phase(name, length, tuple(called)) for name, called in names.items()], logits

    @functools.cache  # noqa: B019 - a subject lives as long as the process
    def reference(self, length: int) -> ExpectedValues:
        """Hugging Face's values along a walk."""
        reference = ExpectedValues(self.hf_model)
        for sequence in self.sequences(length):
            for tokens in sequence.rows:
                reference.prepare(tokens)
        return reference

    def steps(self, phase: Phase) -> list[HfValue]:
        """Hugging Face's values in a phase, without those that stay within another's step."""
        return [step for step in self.reference(phase.length).steps if step.within is None]

    def findings(self, phase: Phase) -> Sequence[OpFinding]:
        """The findings on all calls of a phase, of a walk that is made when first asked for.

        Raises:
            inputs.ModelFails, jobs.Undetermined: the walk failed, now or when it was made.
        """
        if phase.length not in self._walks:
            self._walks[phase.length] = self._walked(phase.length)
        walked = self._walks[phase.length]
        if isinstance(walked, Exception):
            raise walked
        return [one for one in walked if phase_of(one.model_call) == phase.name]

    def _walked(self, length: int) -> tuple[OpFinding, ...] | Exception:
        sequences, reference = self.sequences(length), self.reference(length)
        try:
            with jobs.model_runs("the model, on Hugging Face's values,"):
                return tuple(isolated.run(self.model, sequences, reference).findings)
        except (inputs.ModelFails, jobs.Undetermined) as error:
            return error


def _warn(text: str) -> None:
    """For pytest's summary, what a command would print as a note."""
    warnings.warn(f"{text}.", stacklevel=2)


def called_product(config: Any, operands: Sequence[Any]) -> CalledProduct:
    """How a product is called: with TTNN's compute config, None for its own, and ttnn tensors."""
    formats = [reading.dtype_name(tensor) for tensor in operands[1:2]]
    return CalledProduct(expected.compute_of(config) or ComputeConfig(), *formats)
