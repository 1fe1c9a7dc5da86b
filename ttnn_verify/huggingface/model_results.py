"""What a model that `build_model` returns must give: each violation is named in a sentence.

The model is called as Hugging Face models are and returns an object with `logits` and
`past_key_values`. Whatever leads a model reads both through this module. B batch, V vocabulary.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from ttnn_verify import sentences
from ttnn_verify.huggingface import inputs
from ttnn_verify.numerics import metrics


def check_callable(model: Any) -> Any:
    """The model itself, if it can be called.

    Raises:
        inputs.ModelFails: it cannot.
    """
    if not callable(model):
        raise inputs.ModelFails(
            f"build_model returns {_named(model)}, which cannot be called; a model is called as "
            "model(input_ids=..., past_key_values=..., use_cache=True)."
        )
    return model


def logits_of(output: Any, batch: int, tokens: int, vocab: int | None) -> torch.Tensor:
    """The logits of a call that was given `batch` rows of `tokens` tokens each.

    NaN and infinity pass: they are a result, to be judged.

    Args:
        output: what the model returned.
        vocab: how many logits Hugging Face's model has for a token; None for any number.

    Returns:
        `[batch, tokens, vocab]`, or `[batch, 1, vocab]` from a model that computes those of the
        last token alone; of any floating type.

    Raises:
        inputs.ModelFails: there are none of this form.
    """
    columns = "vocabulary" if vocab is None else vocab
    needed = f"({batch}, {tokens}, {columns})"
    if tokens > 1:
        needed += f", or ({batch}, 1, {columns}) for the last token alone,"
    logits = _field(output, "logits", f"a torch.Tensor {needed.rstrip(',')}")
    if not isinstance(logits, torch.Tensor):
        raise inputs.ModelFails(
            f"the model's logits are {_named(logits)}; a torch.Tensor on the host is needed, such "
            "as ttnn.to_torch returns."
        )
    if logits.device.type != "cpu" or logits.layout is not torch.strided:
        raise inputs.ModelFails(
            f"the model's logits are on {str(logits.device)!r} in {logits.layout}; a dense tensor "
            "on the host is needed, such as ttnn.to_torch returns."
        )
    if not logits.is_floating_point():
        raise inputs.ModelFails(
            f"the model's logits are of {logits.dtype}; a floating type is needed, such as "
            "torch.bfloat16 or torch.float32."
        )
    shape, wrong = tuple(logits.shape), None
    if len(shape) != 3:
        wrong = f"{len(shape)} dimensions"
    elif shape[0] != batch:
        wrong = f"{shape[0]} rows for {batch} of input_ids"
    elif shape[1] not in (1, tokens):
        wrong = f"those of {shape[1]} tokens for {tokens} of input_ids"
    elif vocab is not None and shape[2] != vocab:
        wrong = f"{shape[2]} for each token where the vocabulary has {vocab}"
    if wrong:
        raise inputs.ModelFails(
            f"the model's logits have shape {shape}, {wrong}; {needed} is needed."
        )
    return logits


def not_finite(logits: torch.Tensor) -> str:
    """That Hugging Face's own logits are not finite, in a sentence; "" if they are."""
    counts = metrics.nonfinite(logits)
    if not counts:
        return ""
    return (
        f"Hugging Face's own logits are not finite, {counts}: that is the checkpoint's fault, or "
        "its dtype's, not the TTNN model's, and nothing can be compared with them; another dtype "
        "of the reference may help."
    )


def capacity_of(model: Any, built_for: int) -> int:
    """How many positions a model has: its own `max_length`, or those that it is built for.

    Raises:
        inputs.ModelFails: `max_length` is no number of positions.
    """
    length = getattr(model, "max_length", None)
    if length is None:
        return built_for
    if isinstance(length, bool) or not isinstance(length, int) or length < 1:
        raise inputs.ModelFails(
            f"the model's max_length is {sentences.shown(length)}; it is the number of positions "
            "that a sequence may have."
        )
    return length


def past_key_values_of(output: Any) -> Any:
    """What the next call of the same sequences is given as `past_key_values`: anything but None.

    Only a model that is called again needs it.

    Raises:
        inputs.ModelFails: there is none.
    """
    meaning = "what the next call continues from, of any type"
    past = _field(output, "past_key_values", meaning)
    if past is None:
        raise inputs.ModelFails(
            "the model returns past_key_values None, which begins a new sequence in the next call; "
            f"it has to be {meaning}."
        )
    return past


def lead(
    model: Callable[..., Any], calls: Iterable[torch.Tensor], vocab: int
) -> Iterator[torch.Tensor]:
    """Call the model with the ids `[B, S]` of each call. Yields the last tokens' logits `[B, V]`.

    They are in float32. As in `generate`, only these are asked for where the model has that
    argument.

    Raises:
        inputs.ModelFails: as `logits_of` and `past_key_values_of`.
    """
    only: dict[str, int] = {}
    if "logits_to_keep" in inspect.signature(getattr(model, "forward", model)).parameters:
        only["logits_to_keep"] = 1
    output, past = None, None
    for ids in calls:
        if output is not None:
            past = past_key_values_of(output)
        output = model(input_ids=ids, past_key_values=past, use_cache=True, **only)
        yield logits_of(output, ids.shape[0], ids.shape[1], vocab)[:, -1].float()


def _field(output: Any, name: str, meaning: str) -> Any:
    if not hasattr(output, name):
        raise inputs.ModelFails(
            f"the model returns {_named(output)}, which has no {name}; it has to be {meaning}."
        )
    return getattr(output, name)


def _named(value: Any) -> str:
    """The type of a value, with its article: a Tensor of ttnn is told from one of torch."""
    if value is None:
        return "None"
    kind = type(value)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__.split('.')[0]}."
    article = "an" if (module or kind.__qualname__)[0].lower() in "aeiou" else "a"
    return f"{article} {module}{kind.__qualname__}"
