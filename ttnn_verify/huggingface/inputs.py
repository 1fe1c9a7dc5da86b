"""The inputs of the command lines, each checked before use: model file, checkpoint, prompt."""

import dataclasses
import importlib.machinery
import importlib.util
import json
import pathlib
import pickle
import sys
import traceback
import types
from typing import Any

import torch
import transformers
from huggingface_hub.errors import HFValidationError, StrictDataclassError
from huggingface_hub.utils import validate_repo_id

from ttnn_verify import network

DTYPES: dict[str, torch.dtype | str] = {
    "auto": "auto",
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
}

# Phi-3's rope types; "su" is longrope's name in the first releases. transformers would treat "yarn"
# as longrope, and rejects other types without naming them.
PHI3_ROPE_TYPES = ("default", "longrope", "su")

PROMPTS = pathlib.Path(__file__).parents[1] / "prompts"


class BadInput(ValueError):
    """An input of a command line is unusable; the message says what would be right."""


class ModelFails(RuntimeError):
    """The model file, or the model that it builds, fails; the message says how and where."""


def quiet_transformers() -> None:
    """Let transformers print errors only, and loading bars only on a terminal."""
    transformers.logging.set_verbosity_error()
    if not sys.stderr.isatty():
        transformers.logging.disable_progress_bar()


def load_model_file(path: str | pathlib.Path) -> types.ModuleType:
    """Run a model file and return it as a module that has `build_model`.

    Raises:
        BadInput: no such file.
        ModelFails: it is not Python, it raises, or it has no `build_model`.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise BadInput(
            f"no model file {str(path)!r}; it is a Python file that defines build_model."
        )
    name = f"model_file_{path.stem}"  # "model" itself would hide the package of that name
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    try:
        loader.get_code(name)
    except (SyntaxError, ValueError) as error:
        raise ModelFails(f"model file {str(path)!r} is not Python: {error}.") from error
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None  # None only for a loader without `is_package`
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up by name
    try:
        loader.exec_module(module)
    except Exception as error:  # whatever its author's code raises
        raise ModelFails(f"model file {str(path)!r} fails: {described(error)}.") from error
    if not callable(getattr(module, "build_model", None)):
        raise ModelFails(
            f"model file {str(path)!r} has no build_model(hf_model, tt_device, max_seq_len)."
        )
    return module


def described(error: Exception) -> str:
    """An exception in a line: its type, what it says first, and the author's line it came from."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not any(part in frame.filename for part in _NOT_THE_AUTHORS)
    ]
    return text if not own else f"{text} ({own[-1].filename}:{own[-1].lineno})"


# Parts of the names of files in which an error is not a model's author's.
_NOT_THE_AUTHORS = (
    "site-packages",
    "<frozen",
    str(pathlib.Path(__file__).parents[1]),
    str(pathlib.Path(__file__).parents[2] / "ttnn_emulator"),
)


def with_older_names(config: Any) -> Any:
    """A configuration that has the names of transformers 4 beside those of 5, in place.

    A model file may have been written for either.
    """
    rope = getattr(config, "rope_parameters", None) or {}
    whole = rope.get("full_attention", rope)
    if not hasattr(config, "rope_theta") and "rope_theta" in whole:
        config.rope_theta = whole["rope_theta"]
    local = rope.get("sliding_attention")
    if local and not hasattr(config, "rope_local_base_freq"):
        config.rope_local_base_freq = local.get("rope_theta")
    return config


@dataclasses.dataclass(frozen=True)
class HubCheckpoint:
    """A checkpoint in a folder or on the Hugging Face hub. Make one with `find_checkpoint`."""

    name: str
    cache_dir: str | None
    local_files_only: bool

    @property
    def _source(self) -> dict[str, Any]:
        return {
            "pretrained_model_name_or_path": self.name,
            "cache_dir": self.cache_dir,
            "local_files_only": self.local_files_only,
            "trust_remote_code": False,
        }

    def config_dict(self) -> dict[str, Any]:
        """The content of config.json.

        Raises:
            BadInput: there is none.
        """
        try:
            config, _ = transformers.PretrainedConfig.get_config_dict(**self._source)
        except OSError as error:
            raise BadInput(self._absent(error)) from error
        if not config:
            raise BadInput(f"no config.json in folder {self.name!r}; a checkpoint folder has one.")
        return config

    def config(self) -> transformers.PretrainedConfig:
        """The configuration as transformers reads it.

        Raises:
            BadInput: there is none, or transformers refuses it.
        """
        try:
            return self._without_code(transformers.AutoConfig.from_pretrained(**self._source))
        except OSError as error:
            raise BadInput(self._absent(error)) from error
        except (ValueError, KeyError, StrictDataclassError) as error:
            reason = str(error).strip().split("\n\n")[0].splitlines()[-1].strip()
            raise BadInput(f"the configuration of {self.name!r} is refused: {reason}") from error

    def _without_code(self, config: transformers.PretrainedConfig) -> transformers.PretrainedConfig:
        """The configuration, which names no code that transformers would fetch and run.

        Raises:
            BadInput: it names kernels by a hub id.
        """
        for part in (config, *(getattr(config, name, None) for name in config.sub_configs)):
            for name in ("_attn_implementation", "_experts_implementation"):
                value = getattr(part, name, None)
                if isinstance(value, str) and "/" in value:
                    raise BadInput(
                        f"the configuration of {self.name!r} asks for kernels {value!r}: code of a "
                        "checkpoint is not run; remove that entry."
                    )
        return config

    def hf_model(self, dtype: torch.dtype | str = "auto") -> transformers.PreTrainedModel:
        """The transformers model, on the host, in `dtype` ("auto" for the checkpoint's own).

        Raises:
            BadInput: no weights, or not all of them.
        """
        self.config()
        try:
            loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
                **self._source, dtype=dtype, output_loading_info=True
            )
        except OSError as error:
            raise BadInput(f"no weights for {self.name!r}: {str(error).splitlines()[0]}") from error
        except pickle.UnpicklingError as error:
            raise BadInput(
                f"no weights for {self.name!r}: its pickled file holds more than tensors, and code "
                "of a checkpoint is not run; save it as safetensors."
            ) from error
        model, info = loaded
        # transformers would fill them with random numbers
        absent = sorted(info["missing_keys"]) + sorted(info["mismatched_keys"])
        if absent:
            raise BadInput(
                f"checkpoint {self.name!r} lacks {len(absent)} weights: {absent[0]}, ..."
            )
        with_older_names(model.config)
        return model.eval()

    def tokenizer(self) -> Any:  # transformers has no common base class with __call__ and decode
        """The tokenizer.

        Raises:
            BadInput: there is none.
        """
        try:
            return transformers.AutoTokenizer.from_pretrained(**self._source)
        except (OSError, ValueError) as error:
            raise BadInput(
                f"no tokenizer in {self.name!r}; a prompt of token ids needs none."
            ) from error

    def _absent(self, error: OSError) -> str:
        if pathlib.Path(self.name).is_dir():
            return f"folder {self.name!r}: {str(error).splitlines()[0]}"
        if self.local_files_only:
            where = "not in the Hugging Face cache; --download fetches it, where the hub answers"
        else:
            where = "not on the Hugging Face hub"
        return f"no checkpoint {self.name!r}: no such folder, and {where}."


def find_checkpoint(
    name: str, cache_dir: str | None = None, download: bool = False
) -> HubCheckpoint:
    """A checkpoint by folder or hub id, in the cache of Hugging Face's.

    Args:
        name: a folder or a hub id.
        cache_dir: the cache, by default Hugging Face's own.
        download: look on the hub, too, if it is reachable.

    Raises:
        BadInput: a file, or neither a folder nor a hub id.
    """
    cache_dir = cache_dir or None  # an empty name is none, and not the current folder
    if pathlib.Path(name).exists():
        if not pathlib.Path(name).is_dir():
            raise BadInput(
                f"checkpoint {name!r} is a file; give the folder that holds config.json."
            )
        return HubCheckpoint(name, cache_dir, local_files_only=True)
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise BadInput(f"no checkpoint {name!r}: no such folder, and not a hub id.") from error
    return HubCheckpoint(name, cache_dir, not (download and network.hub_reachable()))


def check_config(
    checkpoint: HubCheckpoint, model_file: types.ModuleType | None
) -> transformers.PretrainedConfig:
    """Check a configuration before any weights are loaded. Returns transformers' configuration.

    A model file may have a `check_config(hf_config)` that raises ValueError for unsupported
    configurations. The rope type of a Phi-3 is checked here: see `PHI3_ROPE_TYPES`.

    Raises:
        BadInput: no configuration, or one that transformers refuses.
        ModelFails: the model file refuses it.
    """
    stored = checkpoint.config_dict()
    rope = stored.get("rope_parameters") or stored.get("rope_scaling") or {}
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if stored.get("model_type") == "phi3" and kind not in PHI3_ROPE_TYPES:
        raise BadInput(f"rope type {kind!r} in {checkpoint.name!r}: Phi-3 has 'longrope' or none.")
    config = with_older_names(checkpoint.config())
    try:
        getattr(model_file, "check_config", lambda config: None)(config)
    except ValueError as error:
        raise ModelFails(str(error)) from error
    return config


def read_text(path: str | pathlib.Path) -> str:
    """The contents of a text file.

    Raises:
        BadInput: it cannot be read, or is not UTF-8.
    """
    try:
        return pathlib.Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(f"prompt file {str(path)!r}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"prompt file {str(path)!r} is not UTF-8 text.") from error


def read_ids(path: str | pathlib.Path) -> torch.Tensor:
    """Token ids from a file: integers separated by spaces, commas or newlines, or a JSON list.

    Returns:
        `[1, S]` int64.

    Raises:
        BadInput: anything else, or more than one prompt.
    """
    text = read_text(path)
    try:
        ids = json.loads(text)
    except json.JSONDecodeError:
        ids = text.replace(",", " ").split()
    ids = ids if isinstance(ids, list) else [ids]
    if ids and all(isinstance(row, list) for row in ids):
        if len(ids) != 1:
            raise BadInput(
                f"{str(path)!r} holds a batch of {len(ids)} prompts: only 1 is supported."
            )
        ids = ids[0]
    for value in ids:
        if not str(value).lstrip("-").isdecimal():
            raise BadInput(
                f"prompt ids file {str(path)!r} holds {value!r}: token ids are integers."
            )
    return torch.tensor([[int(value) for value in ids]], dtype=torch.int64)


def encode(text: str, tokenizer: Any) -> torch.Tensor:
    """The token ids `[1, S]` of a prompt, with the special tokens that the tokenizer adds.

    Raises:
        BadInput: the text is empty.
    """
    if not text.strip():
        raise BadInput(f"the prompt {text!r} is empty; it needs at least one token.")
    return torch.tensor([tokenizer(text).input_ids], dtype=torch.int64)


def stretches(ids: torch.Tensor, length: int, count: int, begin: int = 0) -> torch.Tensor:
    """`count` stretches of the ids `[1, S]`, `[count, length]`: the rows of a batch.

    They lie at equal distances, the first one where the ids begin; the first id follows the last.

    Args:
        begin: so many of the first ids, special tokens, begin every stretch.
    """
    text = ids[0, begin:]
    if not len(text):
        return ids.expand(count, -1)
    starts = torch.arange(count)[:, None] * len(text) // count
    rows = text[(starts + torch.arange(length - begin)) % len(text)]
    return torch.cat((ids[:, :begin].expand(count, -1), rows), dim=1)


def check_different(prompts: torch.Tensor) -> None:
    """Raises BadInput where two of the prompts `[B, S]` are equal."""
    if len(prompts.unique(dim=0)) < len(prompts):
        raise BadInput(
            f"the text has no {len(prompts)} different stretches of {prompts.shape[1]} tokens, one "
            "for each row of the batch; a longer prompt or a smaller batch is needed."
        )


def heldout_text() -> str:
    """The text that the default prompt is cut from: all of `PROMPTS`.

    Raises:
        BadInput: there are none.
    """
    text = "\n".join(read_text(path) for path in sorted(PROMPTS.glob("*.txt")))
    if not text:
        raise BadInput(f"no prompt given, and no text in {str(PROMPTS)!r} to take one from.")
    return text


def check_prompt(prompt_ids: torch.Tensor, vocab_size: int) -> None:
    """Raises BadInput for prompts `[B, S]` without tokens or with an id outside the vocabulary."""
    if prompt_ids.numel() == 0:
        raise BadInput("the prompt is empty; it needs at least one token.")
    outside = prompt_ids[(prompt_ids < 0) | (prompt_ids >= vocab_size)]
    if outside.numel():
        raise BadInput(
            f"prompt id {int(outside[0])} is outside the vocabulary: 0 to {vocab_size - 1}."
        )


def check_length(prompt_len: int, new_tokens: int, limit: int, limit_name: str) -> None:
    """Raises BadInput for a prompt and continuation longer than `limit` tokens."""
    if prompt_len + new_tokens > limit:
        raise BadInput(
            f"{prompt_len} prompt tokens and {new_tokens} new ones are {prompt_len + new_tokens}: "
            f"{limit_name} is {limit}."
        )


def check_positions(max_seq_len: int, config: transformers.PretrainedConfig) -> None:
    """Raises BadInput for more positions than the checkpoint's configuration has."""
    positions = getattr(config, "max_position_embeddings", max_seq_len)
    if max_seq_len > positions:
        raise BadInput(f"{max_seq_len} positions: the checkpoint is made for at most {positions}.")
