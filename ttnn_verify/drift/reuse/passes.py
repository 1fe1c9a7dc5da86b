"""Hugging Face's passes over given tokens, by a key of model, tokens and code."""

import dataclasses
import inspect
import json
import sys
from collections.abc import Callable
from typing import Any

import safetensors.torch
import torch
import transformers

from ttnn_verify.drift.reuse import call_keys
from ttnn_verify.files.stored import LARGEST, StoredResults
from ttnn_verify.huggingface import golden, recording
from ttnn_verify.huggingface.hf_values import HfValue, RecordedPass
from ttnn_verify.numerics.floors import Floor
from ttnn_verify.weights import upcast

CODE = ("huggingface", "numerics", "drift/reuse")
STEPS, TENSORS = b"steps", b"tensors"  # what is kept of a pass
VALUE, ISOLATED = "value.", "isolated."  # before the names of its tensors


class KeptPasses:
    """Records passes and measures floors of a model, unless they are kept."""

    def __init__(self, stored: StoredResults) -> None:
        self._stored = stored
        self._model: tuple[Any, bytes] | None = None  # the last one and its key

    def record(self, hf_model: Any, ids: torch.Tensor) -> RecordedPass:
        """As `recording.record`."""
        key = self._key(hf_model, "pass", ids)
        steps, tensors = (self._stored.get(key + part) for part in (STEPS, TENSORS))
        if steps is not None and tensors is not None:
            return _unpacked(steps, tensors, ids)
        recorded = recording.record(hf_model, ids)
        if _size(recorded) > LARGEST:  # a copy that is not kept
            return recorded
        for part, content in zip((STEPS, TENSORS), _packed(recorded), strict=True):
            self._stored.put(key + part, content)
        return recorded

    def floor(
        self, measure: Callable[[Any, torch.Tensor], Floor], hf_model: Any, ids: torch.Tensor
    ) -> Floor:
        """`measure(hf_model, ids)`, a function of this package that nothing else determines."""
        key = self._key(hf_model, f"{measure.__module__}.{measure.__name__}", ids)
        content = self._stored.get(key)
        if content is not None:
            return Floor(**json.loads(content))
        floor = measure(hf_model, ids)
        self._stored.put(key, json.dumps(dataclasses.asdict(floor)).encode())
        return floor

    def _key(self, hf_model: Any, what: str, ids: torch.Tensor) -> bytes:
        if self._model is None or self._model[0] is not hf_model:
            self._model = hf_model, _model_key(hf_model)
        return call_keys.hash_of(self._model[1], repr((what, ids.tolist())))


def _model_key(hf_model: Any) -> bytes:
    config = hf_model.config.to_dict()
    content = {
        "weights": golden.weights_hash(hf_model.state_dict()),
        "config": {name: x for name, x in config.items() if name not in golden.NOT_THE_MODEL},
        "dtype": str(upcast.dtype_of(hf_model)),
        "attention": hf_model.config._attn_implementation,
        "model": inspect.getsource(sys.modules[type(hf_model).__module__]),
        "transformers": transformers.__version__,
    }
    described = json.dumps(content, sort_keys=True, default=str)
    return call_keys.hash_of(call_keys.of_code(CODE), described)


def _size(recorded: RecordedPass) -> int:
    """Bytes of a pass's tensors."""
    return sum(x.nbytes for named in (recorded.values, recorded.isolated) for x in named.values())


def _packed(recorded: RecordedPass) -> tuple[bytes, bytes]:
    """A pass's steps and tensors."""
    tensors = {
        kind + name: tensor.clone(memory_format=torch.contiguous_format)  # some share memory
        for kind, named in ((VALUE, recorded.values), (ISOLATED, recorded.isolated))
        for name, tensor in named.items()
    }
    steps = json.dumps([dataclasses.asdict(step) for step in recorded.steps])
    return steps.encode(), safetensors.torch.save(tensors)


def _unpacked(steps: bytes, tensors: bytes, ids: torch.Tensor) -> RecordedPass:
    loaded = safetensors.torch.load(tensors)
    values, isolated = (
        {name.removeprefix(kind): x for name, x in loaded.items() if name.startswith(kind)}
        for kind in (VALUE, ISOLATED)
    )
    return RecordedPass(ids.long(), tuple(map(_step, json.loads(steps))), values, isolated)


def _step(fields: dict[str, Any]) -> HfValue:
    """A step from JSON, which knows lists alone."""
    return HfValue(**fields | {name: tuple(fields[name]) for name in ("inputs", "shape")})
