"""Goldens: what Hugging Face computed from given tokens, captured once and kept in a cache folder.

A golden is a safetensors file named by a hash of all that decides its content: weights, configuration,
tokens, dtype, attention implementation, versions of torch and transformers, and the code that captures.
It is written to a temporary file and renamed, under a lock that pytest's workers share, and checked
when it is read: key, names, shapes, dtypes and a checksum. A file that fails is rebuilt.

The folder is `cache_dir`, else the environment's PHI3_GOLDENS, else phi3-goldens in the user's cache
folder (XDG_CACHE_HOME, ~/.cache). It may be deleted at any time.
"""

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import pathlib

import filelock
import safetensors
import safetensors.torch
import torch
import transformers

from ttnn_verify.huggingface import accuracy, submodules

FOLDER_VARIABLE = "PHI3_GOLDENS"
SUFFIX = ".safetensors"
VALUE = "value."  # before the names of a golden's values in its file

# What a configuration says of the file it came from, and not of the model.
NOT_THE_MODEL = ("_name_or_path", "architectures", "transformers_version", "dtype", "torch_dtype")

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Golden:
    """What Hugging Face computed.

    Attributes:
        tokens: `[1, S]` int64.
        values: name -> float32, what each submodule received or returned for them: `submodules.shapes`
            lists names and shapes.
        greedy: `[T]` int64, the tokens it wrote after them.
        top5: `[T, 5]` int64, its five likeliest tokens at each of these steps, the likeliest first.
    """

    tokens: torch.Tensor
    values: dict[str, torch.Tensor]
    greedy: torch.Tensor
    top5: torch.Tensor


class NotBelieved(ValueError):
    """A stored file that is not the golden it ought to be; the message says why."""


def capture(hf_model, ids, new_tokens=0):
    """Run the model on ids `[1, S]` and let it write `new_tokens` more, greedily. Stores nothing.

    Args:
        hf_model: a Phi3ForCausalLM; for a reference, in float32 with attn_implementation="eager".
            A `submodules.streamed` one does not write.

    Raises:
        ValueError: not one sequence, or tokens asked of a streamed model.
        TypeError: not a Phi3ForCausalLM.
    """
    if new_tokens and hf_model.device.type == "meta":
        raise ValueError(
            f"new_tokens {new_tokens}: a streamed model would read all weights anew for each; 0 it is."
        )
    found = submodules.values(hf_model, ids)
    if not new_tokens:
        none = torch.empty(0, dtype=torch.int64)
        return Golden(ids.long(), found, none, none.reshape(0, 5))
    written = accuracy.reference(hf_model, ids, new_tokens)
    return Golden(ids.long(), found, written.tokens, written.choosable.topk(5).indices)


def load(hf_model, ids, cache_dir=None, new_tokens=0, identity=None):
    """The golden of these weights and tokens: the stored one, or else captured and stored.

    Where the folder cannot be written, it is captured each time, and a warning logged.

    Args:
        hf_model, ids, new_tokens: as of `capture`.
        cache_dir: folder of the stored goldens; None for the default.
        identity: a string that tells these weights from all others, `folder_identity` of a large
            checkpoint. None hashes the model's own weights, at 1.5 GB/s; a streamed model has none.

    Raises:
        ValueError, TypeError: as `capture`; ValueError for a streamed model without identity.
    """
    submodules.check(hf_model, ids)
    key = _key(hf_model, ids, new_tokens, identity or weights_identity(hf_model.state_dict()))
    path = pathlib.Path(cache_dir or default_folder()) / f"{key[:32]}{SUFFIX}"
    due = _due(hf_model.config, ids.shape[1], new_tokens)
    golden = _stored(path, key, due)  # no lock: a file appears whole
    if golden:
        return golden
    with contextlib.ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(filelock.FileLock(f"{path}.lock"))
        except OSError as error:
            log.warning("no golden is kept: %s", error)
            return capture(hf_model, ids, new_tokens)
        golden = _stored(path, key, due)  # another process may have made it while this one waited
        if golden is None:
            golden = capture(hf_model, ids, new_tokens)
            try:
                _store(path, key, golden)
            except (OSError, safetensors.SafetensorError) as error:  # a full disk, say
                log.warning("golden %s is not kept: %s", path, error)
    return golden


def default_folder():
    """Where goldens are kept unless a folder is named."""
    if FOLDER_VARIABLE in os.environ:
        return pathlib.Path(os.environ[FOLDER_VARIABLE])
    caches = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(caches) / "phi3-goldens"


def weights_identity(weights):
    """A hash of the content of all tensors of a Mapping of names.

    Raises:
        ValueError: a tensor without content, on the meta device.
    """
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name]
        if tensor.device.type == "meta":
            raise ValueError(
                f"{name} is on the meta device: weights that are not there need an identity, "
                "folder_identity of their checkpoint or a name of your own."
            )
        _add(digest, name, tensor)
    return digest.hexdigest()


def folder_identity(folder):
    """A hash of a checkpoint folder that reads none of its weights.

    Of each safetensors file the name, the size, the time of the last change and the header, which
    holds every tensor's name, dtype, shape and place. What changes weights and leaves the time as it
    was escapes it.

    Raises:
        ValueError: no safetensors in the folder.
    """
    files = sorted(pathlib.Path(folder).glob("*.safetensors"))
    if not files:
        raise ValueError(f"no .safetensors file in {str(folder)!r}; a checkpoint folder has them.")
    digest = hashlib.sha256()
    for path in files:
        status = path.stat()
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = file.read(min(length, status.st_size))
        digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns} ".encode() + header)
    return digest.hexdigest()


def _key(hf_model, ids, new_tokens, identity):
    config = hf_model.config.to_dict()
    code = (submodules, accuracy) if new_tokens else (submodules,)
    content = {
        "weights": identity,
        "config": {name: config[name] for name in sorted(config) if name not in NOT_THE_MODEL},
        "tokens": ids.tolist(),
        "new_tokens": new_tokens,
        "end": hf_model.generation_config.eos_token_id if new_tokens else None,
        "dtype": str(hf_model.dtype),
        "attention": hf_model.config._attn_implementation,
        "versions": [torch.__version__, transformers.__version__],
        "code": [pathlib.Path(module.__file__).read_text() for module in code],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def _due(config, seq_len, new_tokens):
    """name -> (shape, dtype) of all that a file of this golden holds."""
    due = {
        VALUE + name: (shape, torch.float32)
        for name, shape in submodules.shapes(config, seq_len).items()
    }
    for name, shape in {
        "tokens": (1, seq_len),
        "greedy": (new_tokens,),
        "top5": (new_tokens, 5),
    }.items():
        due[name] = (shape, torch.int64)
    return due


def _store(path, key, golden):
    """Write a golden so that nobody ever sees half of it."""
    tensors = {VALUE + name: value for name, value in golden.values.items()}
    tensors |= {"tokens": golden.tokens, "greedy": golden.greedy, "top5": golden.top5}
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    metadata = {"key": key, "checksum": _checksum(tensors)}
    partial = path.with_suffix(".partial")  # one writer at a time: the caller holds the lock
    try:
        safetensors.torch.save_file(tensors, partial, metadata)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _stored(path, key, due):
    """The golden of a file, None if there is none to be believed."""
    if not path.is_file():
        return None
    try:
        tensors = _checked(path, key, due)
    except (NotBelieved, OSError, safetensors.SafetensorError) as error:
        log.warning("golden %s is rebuilt: %s", path, error)
        return None
    values = {name.removeprefix(VALUE): tensors[name] for name in due if name.startswith(VALUE)}
    return Golden(tensors["tokens"], values, tensors["greedy"], tensors["top5"])


def _checked(path, key, due):
    """All tensors of a file. Raises NotBelieved, OSError or SafetensorError."""
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        names = file.keys()
        tensors = {name: file.get_tensor(name) for name in names}
    if metadata.get("key") != key:
        raise NotBelieved(f"its key is {metadata.get('key')!r}, due is {key!r}")
    found = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}
    if found != due:
        wrong = sorted(name for name in found | due if found.get(name) != due.get(name))
        raise NotBelieved(
            f"{wrong[0]} is {found.get(wrong[0])}, due is {due.get(wrong[0])}; {len(wrong)} such"
        )
    checksum = _checksum(tensors)
    if metadata.get("checksum") != checksum:
        raise NotBelieved(f"its checksum is {metadata.get('checksum')!r}, due is {checksum!r}")
    return tensors


def _checksum(tensors):
    digest = hashlib.sha256()
    for name in sorted(tensors):
        _add(digest, name, tensors[name])
    return digest.hexdigest()


def _add(digest, name, tensor):
    """Add a tensor to a hash: name, dtype, shape and every byte."""
    digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
    digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
