"""Teacher forcing of a whole model: it is scored along Hugging Face's continuation of prompts."""

import dataclasses
import math
import types
from collections.abc import Mapping, Sequence
from typing import Any

import transformers

from ttnn_verify import jobs, prompt_ids
from ttnn_verify.huggingface import accuracy, inputs, model_results, verdict
from ttnn_verify.report import bars


@dataclasses.dataclass(frozen=True)
class Plan:
    """Prompts, and how they are continued and judged.

    Attributes:
        new_tokens: how many tokens Hugging Face writes at most.
        min_new_tokens: the least number of tokens before the text may end.
        prefill_decode: give the model the prompts token by token, by decode.
        reference_dtype: of `inputs.DTYPES`, what Hugging Face computes in.
        bounds: fields of `verdict.Bounds` that are set, instead of those that are measured.
    """

    prompt: jobs.Prompt
    new_tokens: int
    min_new_tokens: int
    prefill_decode: bool = False
    reference_dtype: str = "auto"
    bounds: Mapping[str, float] = types.MappingProxyType({})


@dataclasses.dataclass(frozen=True)
class RowResult:
    """A row of the batch, judged.

    Attributes:
        number: from 0.
        explained: the error of the logits that the device's arithmetic explains.
        bounds: what the score must reach.
    """

    number: int
    score: accuracy.Score
    explained: verdict.ExplainedError
    bounds: verdict.Bounds

    @property
    def failures(self) -> list[str]:
        """A sentence for each bound that is missed."""
        return verdict.failures(self.score, self.bounds)


@dataclasses.dataclass(frozen=True)
class Result:
    """All rows of the batch, in their order."""

    rows: tuple[RowResult, ...]

    @property
    def worst(self) -> RowResult:
        """The row that misses most bounds; among equals the one with the least PCC."""

        def key(row: RowResult) -> tuple[int, float]:
            pcc = row.score.pcc
            return -len(row.failures), -math.inf if math.isnan(pcc) else pcc

        return min(self.rows, key=key)

    @property
    def failures(self) -> list[str]:
        """A sentence for each bound that a row misses, with the row's number if there are more."""
        return [
            f"row {row.number}: {sentence}" if len(self.rows) > 1 else sentence
            for row in self.rows
            for sentence in row.failures
        ]


def run(plan: Plan, bringup: jobs.Bringup) -> Result:
    """The scores of a bring-up, judged.

    Raises:
        inputs.BadInput: the model's cache is too short.
        inputs.ModelFails: the model file refuses the checkpoint, or fails, or its model does.
        jobs.Undetermined: there is nothing to judge by.
    """
    hf_model = _hf_model(plan)
    batch, sent = plan.prompt.batch, bars.Sent()
    with bringup.open_device() as device:
        model = bringup.build(hf_model, device, batch, sent)
        with jobs.model_runs("the model's max_length"):
            cache = model_results.capacity_of(model, bringup.max_seq_len)
        prompt_ids.check_length(plan.prompt.length, plan.new_tokens, cache, "the model's cache")
        references = _write(plan, hf_model)
        errors = _explained(hf_model, references, bringup.arithmetic)
        del hf_model  # the host need not hold its weights any longer
        with jobs.model_runs("the model" if batch == 1 else f"the model, given {batch} rows,"):
            scores = _scores(plan, model, references, sent)
    return _judged(plan, scores, errors)


def run_hf(plan: Plan) -> Result:
    """The scores of Hugging Face's model along its own continuation. Raises as `run`."""
    hf_model = _hf_model(plan)
    references = _write(plan, hf_model)
    errors = _explained(hf_model, references, "rounded")
    calls = sum(_calls(plan, references))
    with jobs.hugging_face_runs(), bars.passes("Again", hf_model, calls):
        scores = accuracy.scores(hf_model, references, plan.prefill_decode)
    return _judged(plan, scores, errors)


def _explained(
    hf_model: transformers.PreTrainedModel,
    references: Sequence[accuracy.Reference],
    arithmetic: str | None,
) -> list[verdict.ExplainedError]:
    factor = verdict.FACTORS[arithmetic or "kernel"]
    count = verdict.PASSES * len(references)
    with jobs.hugging_face_runs(), bars.passes("In bfloat16", hf_model, count):
        return [verdict.explained(hf_model, reference, factor) for reference in references]


def _judged(
    plan: Plan, scores: Sequence[accuracy.Score], errors: Sequence[verdict.ExplainedError]
) -> Result:
    rows = []
    for number, (score, error) in enumerate(zip(scores, errors, strict=True)):
        bounds = verdict.bounds_by(error, score.reference)
        own = dataclasses.replace(bounds, **plan.bounds)
        rows.append(RowResult(number, score, error, own))
    return Result(tuple(rows))


def _hf_model(plan: Plan) -> transformers.PreTrainedModel:
    return plan.prompt.checkpoint.hf_model(inputs.DTYPES[plan.reference_dtype])


def _write(plan: Plan, hf_model: transformers.PreTrainedModel) -> list[accuracy.Reference]:
    """What Hugging Face writes after each prompt."""
    prompts = plan.prompt.ids.split(1)
    steps = plan.new_tokens * len(prompts)
    with jobs.hugging_face_runs(), bars.passes("Hugging Face", hf_model, steps):
        return [
            accuracy.reference(hf_model, ids, plan.new_tokens, plan.min_new_tokens)
            for ids in prompts
        ]


def _scores(
    plan: Plan, model: Any, references: Sequence[accuracy.Reference], sent: bars.Sent
) -> list[accuracy.Score]:
    with sent.running(*_calls(plan, references)) as on_tokens:
        return accuracy.scores(model, references, plan.prefill_decode, on_tokens)


def _calls(plan: Plan, references: Sequence[accuracy.Reference]) -> tuple[int, int]:
    """How often a model is called for the prompts, and for the tokens after them."""
    prompt = plan.prompt.length if plan.prefill_decode else 1
    return prompt, max(len(reference.tokens) for reference in references) - 1
