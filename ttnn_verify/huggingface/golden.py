"""Goldens: Hugging Face's values for given tokens, captured once and stored in a cache folder.

A golden is a safetensors file named by a hash of all that determines its content: weights,
configuration, tokens, dtype, attention implementation, versions of torch and transformers, and the
code that captures. It is written to a temporary file and renamed, under a lock that pytest's
workers share, and checked when it is read: key, names, shapes, dtypes and a checksum. A file that
fails a check is rebuilt.

The folder is `cache_dir`, else the environment's PHI3_GOLDENS, else phi3-goldens in the user's
cache folder (XDG_CACHE_HOME, ~/.cache). It may be deleted at any time. Where others may write,
nothing is stored.
"""

import contextlib
import dataclasses
import hashlib
import inspect
import json
import logging
import os
import pathlib
import stat
from collections.abc import Mapping

import filelock
import safetensors
import safetensors.torch
import torch
import transformers

from ttnn_verify.files import atomic
from ttnn_verify.huggingface import accuracy, submodules
from ttnn_verify.weights import upcast

FOLDER_VARIABLE = "PHI3_GOLDENS"
SUFFIX = ".safetensors"
VALUE = "value."  # before the names of a golden's values in its file

# Entries of a configuration that describe the file it came from, not the model.
NOT_THE_MODEL = ("_name_or_path", "architectures", "transformers_version", "dtype", "torch_dtype")

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Golden:
    """What Hugging Face computed.

    Attributes:
        tokens: `[1, S]` int64.
        values: name -> float32, what each submodule received or returned for these tokens;
            `submodules.shapes` lists names and shapes.
        greedy: `[T]` int64, the tokens it wrote after them.
        top5: `[T, 5]` int64, its five most likely tokens at each of these steps, in order.
    """

    tokens: torch.Tensor
    values: dict[str, torch.Tensor]
    greedy: torch.Tensor
    top5: torch.Tensor


# What a file of a golden holds: name -> (shape, dtype).
Contents = dict[str, tuple[tuple[int, ...], torch.dtype]]


class InvalidGolden(ValueError):
    """A file does not contain the golden that its name says; the message says why."""


def capture(
    hf_model: transformers.PreTrainedModel, ids: torch.Tensor, new_tokens: int = 0
) -> Golden:
    """Run the model on ids `[1, S]` and let it write `new_tokens` more, greedily. Stores nothing.

    Args:
        hf_model: a Phi3ForCausalLM; for a reference, in float32 with attn_implementation="eager".
            A `submodules.streamed` one cannot write.

    Raises:
        ValueError: not one sequence.
        TypeError: not a Phi3ForCausalLM.
    """
    values = submodules.values(hf_model, ids)
    if not new_tokens:
        none = torch.empty(0, dtype=torch.int64)
        return Golden(ids.long(), values, none, none.reshape(0, 5))
    written = accuracy.reference(hf_model, ids, new_tokens)
    return Golden(ids.long(), values, written.tokens, written.choosable.topk(5).indices)


def load(
    hf_model: transformers.PreTrainedModel,
    ids: torch.Tensor,
    cache_dir: str | pathlib.Path | None = None,
    new_tokens: int = 0,
) -> Golden:
    """The golden of these weights and tokens: the stored one, else captured and stored.

    The weights are hashed, at 1.5 GB/s. Where the folder cannot be written, the golden is captured
    each time, and a warning logged.

    Args:
        hf_model, ids, new_tokens: as of `capture`.
        cache_dir: folder of the stored goldens; None for the default.

    Raises:
        ValueError, TypeError: as `capture`; ValueError for a model whose weights are not there.
    """
    submodules.check(hf_model, ids)
    key = _key(hf_model, ids, new_tokens)
    folder = cache_dir or default_folder()
    if folder is None:
        return capture(hf_model, ids, new_tokens)
    path = pathlib.Path(folder) / f"{key[:32]}{SUFFIX}"
    expected = _contents(hf_model.config, ids.shape[1], new_tokens)
    golden = _stored(path, key, expected)  # no lock: files are written atomically
    if golden:
        return golden
    with contextlib.ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(filelock.FileLock(f"{path}.lock"))
        except OSError as error:
            log.warning("the golden cannot be stored: %s", error)
            return capture(hf_model, ids, new_tokens)
        golden = _stored(path, key, expected)  # made by another process in the meantime?
        if golden is None:
            golden = capture(hf_model, ids, new_tokens)
            try:
                _store(path, key, golden)
            except (OSError, safetensors.SafetensorError) as error:  # a full disk, say
                log.warning("golden %s cannot be stored: %s", path, error)
    return golden


def default_folder() -> pathlib.Path | None:
    """Where goldens are stored unless a folder is given; None where no folder is safe, with a note.

    Whoever can write there can change what is expected. So it must belong to this user, and nobody
    else may write in it; one that FOLDER_VARIABLE names may be of a group, and of whomever.
    """
    named = os.environ.get(FOLDER_VARIABLE)
    from ttnn_emulator.machine import folders  # here: it imports ttnn, which is slow

    if named:  # an empty one is none, and not the current folder
        folder = pathlib.Path(named).absolute()
        refusal = _open_to_all(folder)
    else:
        cache = folders.user_cache()
        if cache is None:
            log.warning("nothing is kept between runs: this user has no home folder")
            return None
        folder = cache / "phi3-goldens"
        refusal = folders.private(folder)
    if refusal:
        log.warning("nothing is kept between runs: %s; %s names another", refusal, FOLDER_VARIABLE)
        return None
    return folder


def _open_to_all(folder: pathlib.Path) -> str | None:
    """Why a folder that was named, made if needed, is no place for goldens."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if folder.stat().st_mode & stat.S_IWOTH:
            return f"everybody may write in {folder}"
    except OSError as error:
        return f"{folder} cannot be made: {error.strerror}"
    return None if os.access(folder, os.W_OK | os.X_OK) else f"nothing may be written in {folder}"


def weights_hash(weights: Mapping[str, torch.Tensor]) -> str:
    """A hash of the names and the content of all tensors.

    Raises:
        ValueError: a tensor without content, on the meta device.
    """
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name]
        if tensor.device.type == "meta":
            raise ValueError(
                f"{name} is on the meta device: a golden needs the weights themselves."
            )
        _add(digest, name, tensor)
    return digest.hexdigest()


def _key(hf_model: transformers.PreTrainedModel, ids: torch.Tensor, new_tokens: int) -> str:
    config = hf_model.config.to_dict()
    code = (submodules, accuracy) if new_tokens else (submodules,)
    content = {
        "weights": weights_hash(hf_model.state_dict()),
        "config": {name: config[name] for name in sorted(config) if name not in NOT_THE_MODEL},
        "tokens": ids.tolist(),
        "new_tokens": new_tokens,
        "end": hf_model.generation_config.eos_token_id if new_tokens else None,
        "dtype": str(upcast.dtype_of(hf_model)),
        "attention": hf_model.config._attn_implementation,
        "versions": [torch.__version__, transformers.__version__],
        "code": [inspect.getsource(module) for module in code],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def _contents(config: transformers.PretrainedConfig, seq_len: int, new_tokens: int) -> Contents:
    contents: Contents = {
        VALUE + name: (shape, torch.float32)
        for name, shape in submodules.shapes(config, seq_len).items()
    }
    tokens = {"tokens": (1, seq_len), "greedy": (new_tokens,), "top5": (new_tokens, 5)}
    return contents | {name: (shape, torch.int64) for name, shape in tokens.items()}


def _store(path: pathlib.Path, key: str, golden: Golden) -> None:
    """Write a golden atomically."""
    tensors = {VALUE + name: value for name, value in golden.values.items()}
    tensors |= {"tokens": golden.tokens, "greedy": golden.greedy, "top5": golden.top5}
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    metadata = {"key": key, "checksum": _checksum(tensors)}
    atomic.write(path, lambda file: safetensors.torch.save_file(tensors, file, metadata))


def _stored(path: pathlib.Path, key: str, expected: Contents) -> Golden | None:
    """The golden of a file; None if there is no file or it is not valid."""
    if not path.is_file():
        return None
    try:
        tensors = _checked(path, key, expected)
    except (InvalidGolden, OSError, safetensors.SafetensorError) as error:
        log.warning("golden %s is rebuilt: %s", path, error)
        return None
    values = {
        name.removeprefix(VALUE): tensors[name] for name in expected if name.startswith(VALUE)
    }
    return Golden(tensors["tokens"], values, tensors["greedy"], tensors["top5"])


def _checked(path: pathlib.Path, key: str, expected: Contents) -> dict[str, torch.Tensor]:
    """All tensors of a file. Raises InvalidGolden, OSError or SafetensorError."""
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        names = file.keys()
        tensors = {name: file.get_tensor(name) for name in names}
    if metadata.get("key") != key:
        raise InvalidGolden(f"its key is {metadata.get('key')!r}, expected {key!r}")
    actual = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}
    if actual != expected:
        raise InvalidGolden(_difference(actual, expected))
    checksum = _checksum(tensors)
    if metadata.get("checksum") != checksum:
        raise InvalidGolden(f"its checksum is {metadata.get('checksum')!r}, expected {checksum!r}")
    return tensors


def _difference(actual: Contents, expected: Contents) -> str:
    """What differs in names, shapes and dtypes: the first tensor, and how many do."""
    wrong = sorted(name for name in actual | expected if actual.get(name) != expected.get(name))
    name = wrong[0]
    count = f"{len(wrong)} tensor differs" if len(wrong) == 1 else f"{len(wrong)} tensors differ"
    if name not in expected:
        return f"tensor {name!r} is not expected; {count}"
    if name not in actual:
        return f"tensor {name!r} is missing; {count}"
    (shape, dtype), (expected_shape, expected_dtype) = actual[name], expected[name]
    if shape != expected_shape:
        return f"tensor {name!r} has shape {shape}, expected {expected_shape}; {count}"
    return f"tensor {name!r} has dtype {dtype}, expected {expected_dtype}; {count}"


def _checksum(tensors: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        _add(digest, name, tensors[name])
    return digest.hexdigest()


def _add(digest: "hashlib._Hash", name: str, tensor: torch.Tensor) -> None:
    """Add a tensor to a hash: name, dtype, shape and every byte."""
    digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
    digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
