"""Teacher forcing of a whole model: it is scored along Hugging Face's continuation of a prompt."""

import dataclasses
from typing import Any

import tqdm
import transformers

from ttnn_verify import jobs
from ttnn_verify.huggingface import accuracy, inputs, module_floors
from ttnn_verify.numerics import tolerance


@dataclasses.dataclass(frozen=True)
class Plan:
    """A prompt, and how it is continued.

    Attributes:
        new_tokens: how many tokens Hugging Face writes at most.
        min_new_tokens: the least number of tokens before the text may end.
        prefill_decode: give the model the prompt token by token, by decode.
        reference_dtype: of `inputs.DTYPES`, what Hugging Face computes in.
    """

    prompt: jobs.Prompt
    new_tokens: int
    min_new_tokens: int
    prefill_decode: bool = False
    reference_dtype: str = "auto"


def run(plan: Plan, bringup: jobs.Bringup) -> accuracy.Score:
    """The score of a bring-up.

    Raises:
        inputs.BadInput: the model's cache is too short.
        inputs.ModelFails: the model file refuses the checkpoint, or fails, or its model does.
    """
    hf_model = _hf_model(plan)
    with bringup.open_device() as device:
        model = bringup.build(hf_model, device)
        cache = getattr(model, "max_length", bringup.max_seq_len)
        inputs.check_length(plan.prompt.length, plan.new_tokens, cache, "the model's cache")
        reference = _write(plan, hf_model)
        del hf_model  # the host need not hold its weights any longer
        with jobs.model_runs("the model"):
            return _score(plan, model, reference, "TTNN")


def run_hf(plan: Plan) -> accuracy.Score:
    """The score of Hugging Face's model along its own continuation."""
    hf_model = _hf_model(plan)
    return _score(plan, hf_model, _write(plan, hf_model), "Again")


def allowed_error(plan: Plan, reference: accuracy.Reference) -> float | None:
    """Relative L2 error of the logits that rounding explains; None for an unknown architecture.

    It is measured, in two passes of Hugging Face's model over the text (see `module_floors`).
    """
    floor = module_floors.of_reference(_hf_model(plan), reference)
    return None if floor is None else tolerance.K * floor.relative_l2


def _hf_model(plan: Plan) -> transformers.PreTrainedModel:
    return plan.prompt.checkpoint.hf_model(inputs.DTYPES[plan.reference_dtype])


def _write(plan: Plan, hf_model: transformers.PreTrainedModel) -> accuracy.Reference:
    """What Hugging Face writes after the prompt."""
    with _progress("Hugging Face", plan.new_tokens) as bar:
        return accuracy.reference(
            hf_model, plan.prompt.ids, plan.new_tokens, plan.min_new_tokens, bar.update
        )


def _score(plan: Plan, model: Any, reference: accuracy.Reference, name: str) -> accuracy.Score:
    with _progress(name, plan.prompt.length + len(reference.tokens) - 1) as bar:
        return accuracy.score(model, reference, plan.prefill_decode, bar.update)


def _progress(name: str, tokens: int) -> tqdm.tqdm:
    """A bar on stderr, counting tokens; none when stderr is not a terminal."""
    return tqdm.tqdm(desc=f"{name:12}", total=tokens, unit="tok", disable=None, leave=False)
