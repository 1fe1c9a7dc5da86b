"""What a Hugging Face model computes in a pass: every value, and how it comes from earlier ones.

Nothing here knows an architecture; `recorder` watches the model. Here its values get their names:
those of the modules, or what the field calls them.
"""

from typing import Any

import torch

from ttnn_verify.huggingface.hf_values import HfValue, RecordedPass
from ttnn_verify.huggingface.recorder import Entry, Recorder, rows_are_third

# Modules of a decoder layer that have a part of it to themselves.
_ATTENTION = ("attn", "attention", "self_attn", "self_attention")
_MLP = ("feed_forward", "ffn", "mlp")


@torch.no_grad()
def record(hf_model: Any, ids: torch.Tensor, **options: Any) -> RecordedPass:
    """Run the model on ids `[B, S]` and record all values.

    Args:
        hf_model: a causal language model of transformers, in float32, with
            attn_implementation="eager".
        options: what its forward takes beside, such as attention_mask.
    """
    recorder = Recorder(*ids.shape)
    with recorder.hooked(hf_model), recorder:
        logits = hf_model(ids, use_cache=False, **options).logits
    recorder.rename(logits, "logits")
    return _finished(recorder.entries, ids)


def _finished(entries: list[Entry], ids: torch.Tensor) -> RecordedPass:
    """The entries by rows, with their names."""
    parts, within = _parts(entries), _within(entries)
    kept = [entry for entry in entries if entry.inner is None or entry.name in within]
    names = _names(entries, parts)
    for entry in kept:
        if entry.name in within:
            outer = within[entry.name]
            names[entry.name] = f"{names.get(outer, outer)}.{entry.name.rpartition('.')[2]}"
    steps, values, isolated = [], {}, {}
    for entry in kept:
        name = names.get(entry.name, entry.name)
        values[name] = _by_rows(entry, entry.tensor, ids.shape[1]).contiguous()
        isolated[name] = _by_rows(entry, entry.isolated, ids.shape[1]).contiguous()
        step_within = within.get(entry.name)
        steps.append(
            HfValue(
                name,
                entry.kind,
                tuple(names.get(x, x) for x in entry.inputs),
                tuple(values[name].shape[2:]),
                entry.layer,
                parts[entry.name],
                None if step_within is None else names.get(step_within, step_within),
                entry.inner is not None and entry.tensor.shape[2:] == (ids.shape[1],) * 2,
                entry.constants,
            )
        )
    return RecordedPass(ids.long(), tuple(steps), values, isolated)


def _by_rows(entry: Entry, tensor: torch.Tensor, length: int) -> torch.Tensor:
    """[B, S, W] or [B, S, N, D] of a value, float32."""
    tensor = tensor.reshape(entry.tensor.shape).float()
    if entry.heads is not None:
        return tensor.unflatten(-1, entry.heads)
    if rows_are_third(entry.tensor, length, entry.heads_first):
        return tensor.transpose(1, 2)
    return tensor


def _within(entries: list[Entry]) -> dict[str, str]:
    """Name of an inner step -> the value that it contributes to."""
    result: dict[str, str] = {}
    for outer in entries:
        if outer.region is None:
            continue
        inner = {entry.name: entry for entry in entries if entry.inner == outer.region}
        waiting = list(outer.made_of)
        while waiting:
            name = waiting.pop()
            if name in inner and name not in result:
                result[name] = outer.name
                waiting += inner[name].inputs
    return result


def _parts(entries: list[Entry]) -> dict[str, str]:
    """Name -> the part of the model: "embedding", "attention", "MLP" or "head"."""
    parts = {}
    done: set[int] = set()  # layers whose attention has been added to the residual stream
    begun = False
    for entry in entries:
        if entry.layer is None:
            parts[entry.name] = "head" if begun else "embedding"
            continue
        begun = True
        place = entry.path.split(f".{entry.layer}", 1)[1].strip(".").split(".")[0]
        late = place in _MLP or (entry.layer in done and place not in _ATTENTION)
        parts[entry.name] = "MLP" if late else "attention"
        if entry.kind == "add" and not place:
            done.add(entry.layer)
    return parts


def _names(entries: list[Entry], parts: dict[str, str]) -> dict[str, str]:
    """Name while recording -> name, of what has a usual one."""
    names: dict[str, str] = {}
    for entry in entries:
        short = None if entry.inner is not None else _usual_name(entry, entries, parts)
        if short is None:
            continue
        before = "" if entry.layer is None else f"layers.{entry.layer}."
        taken = {other.name for other in entries} | set(names.values())
        name, number = before + short, 2
        while name in taken:
            name, number = f"{before}{short}_{number}", number + 1
        names[entry.name] = name
    return names


def _usual_name(entry: Entry, entries: list[Entry], parts: dict[str, str]) -> str | None:
    """What the field calls a value, within its layer; None if it has its module's name."""
    short = entry.name.rpartition(".")[2]
    if entry.layer is None:
        return "scaled_embedding" if short == "multiply" else None
    if entry.kind == "add" and short != "output":
        return "residual"
    if entry.kind == "multiply" and parts[entry.name] == "MLP":
        return "product"
    if short == "post_attention_layernorm":
        return "post_norm" if parts[entry.name] == "MLP" else "attention_norm"
    if short.startswith("gate_up_part"):
        consumer = next(other for other in entries if entry.name in other.inputs)
        return "gate" if consumer.kind == "activation" else "up"
    return None
