"""Checkpoints: what transformers and safetensors read of them, checked and refused in sentences."""

import dataclasses
import math
import pathlib
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeGuard

import safetensors
import torch
import transformers
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from ttnn_verify import cli, network, sentences
from ttnn_verify.weights import upcast

DTYPES: dict[str, torch.dtype | str] = {
    "auto": "auto",
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
}

# Numbers of a checkpoint whose weights in float32, 4 GB, would crowd those of a device's.
LARGE = 10**9
NARROW = {"BF16": torch.bfloat16, "F16": torch.float16}  # by safetensors' names; float32 has all

# Phi-3's rope types; "su" is longrope's name in the first releases. transformers would treat "yarn"
# as longrope, and rejects other types without naming them.
PHI3_ROPE_TYPES = ("default", "longrope", "su")

# What a CPU computes attention with; the first stands in for what a configuration asks for else.
ATTENTION = ("eager", "sdpa")


class BadInput(ValueError):
    """An input of a command line is unusable; the message says what would be right."""


class ModelFails(RuntimeError):
    """The model file, or the model that it builds, fails; the message says how and where."""


class Undetermined(RuntimeError):
    """What was asked about cannot be determined; the message says why."""


def quiet_transformers() -> None:
    """Let transformers print errors only, and loading bars only on a terminal."""
    transformers.logging.set_verbosity_error()
    if not sys.stderr.isatty():
        transformers.logging.disable_progress_bar()


def with_older_names(config: Any) -> Any:
    """A configuration that has the names of transformers 4 beside those of 5, in place.

    A model file may have been written for either.
    """
    rope = _dict(getattr(config, "rope_parameters", None))
    whole = _dict(rope.get("full_attention", rope))
    if not hasattr(config, "rope_theta") and "rope_theta" in whole:
        config.rope_theta = whole["rope_theta"]
    local = _dict(rope.get("sliding_attention"))
    if local and not hasattr(config, "rope_local_base_freq"):
        config.rope_local_base_freq = local.get("rope_theta")
    return config


def _dict(value: Any) -> dict[str, Any]:
    """A JSON object; an empty one for anything else, which transformers refuses or ignores."""
    return value if isinstance(value, dict) else {}


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

    @property
    def shown(self) -> str:
        """The name as sentences have it."""
        return sentences.shown(self.name, sentences.LONGEST // 2)

    def config_dict(self) -> dict[str, Any]:
        """The content of config.json.

        Raises:
            BadInput: there is none, or it is no JSON object.
        """
        try:
            config, _ = transformers.PretrainedConfig.get_config_dict(**self._source)
        except OSError as error:
            raise BadInput(self._absent(error)) from error
        except Exception as error:  # transformers takes it for granted that it is an object
            raise BadInput(f"config.json of {self.shown} is no JSON object.") from error
        if not isinstance(config, dict):
            raise BadInput(f"config.json of {self.shown} is no JSON object.")
        if not config:
            raise BadInput(f"no config.json in folder {self.shown}; a checkpoint folder has one.")
        return config

    def config(self) -> transformers.PretrainedConfig:
        """The configuration as transformers reads it.

        Raises:
            BadInput: there is none, or transformers refuses it.
        """
        try:
            config = transformers.AutoConfig.from_pretrained(**self._source)
        except OSError as error:
            raise BadInput(self._absent(error)) from error
        except Exception as error:  # of any type, by the field that is wrong
            raise BadInput(
                f"the configuration of {self.shown} is refused: {_reason(error)}."
            ) from error
        return self._without_code(config)

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
                        f"the configuration of {self.shown} asks for kernels "
                        f"{sentences.shown(value)}: code of a checkpoint is not run; remove that "
                        "entry."
                    )
        return config

    def stored_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of the tensors in a folder's safetensors; nothing where there are none.

        Raises:
            BadInput: a file is damaged.
        """
        return {name: shape for name, (shape, _) in _stored(pathlib.Path(self.name)).items()}

    def _large_in(self) -> torch.dtype | None:
        """The narrow dtype that all weights of a large checkpoint are stored in, None if none is.

        Nor is any where they have not been fetched yet.
        """
        place = pathlib.Path(self.name)
        if not place.is_dir():
            found = try_to_load_from_cache(self.name, "config.json", cache_dir=self.cache_dir)
            if not isinstance(found, str):
                return None
            place = pathlib.Path(found).parent
        stored = _stored(place)
        kinds = {kind for _, kind in stored.values()}
        large = sum(math.prod(shape) for shape, _ in stored.values()) >= LARGE
        return NARROW.get(kinds.pop()) if large and len(kinds) == 1 else None

    def check_layers(self, config: transformers.PretrainedConfig) -> None:
        """Refuse a number of layers that would take hours to make and that no file has.

        Raises:
            BadInput: a folder has fewer weights, or bytes, than its configuration has layers.
        """
        layers = getattr(config.get_text_config(), "num_hidden_layers", None)
        tensors = len(self.stored_shapes())
        files = pathlib.Path(self.name).glob("*.bin")
        held = tensors or sum(file.stat().st_size for file in files if file.is_file())
        if isinstance(layers, int) and held and layers > held:
            what = "weights" if tensors else "bytes of weights"
            raise BadInput(
                f"the configuration of {self.shown} has {layers} layers, and the checkpoint no "
                f"more than {held} {what}."
            )

    def hf_model(
        self, dtype: torch.dtype | str = "auto", say: Callable[[str], object] = cli.note
    ) -> transformers.PreTrainedModel:
        """The transformers model, on the host, in `dtype` ("auto" for the checkpoint's own).

        One of a `LARGE` checkpoint computes in float32 without weights in float32: they stay mapped
        from their files, as they are stored, and `upcast` casts each as it is used.

        Args:
            say: is told what is done instead of what the configuration says.

        Raises:
            BadInput: no weights, not all of them, or others than the configuration asks for.
        """
        self.config()  # refused where it names code
        stored, shapes = self.config_dict(), self.stored_shapes()
        narrow = None
        if dtype == torch.float32 and not stored.get("quantization_config"):
            narrow = self._large_in()
        options: dict[str, Any] = {"dtype": narrow or dtype, "output_loading_info": True}
        kernel = stored.get("_attn_implementation", stored.get("attn_implementation"))
        if kernel is not None and kernel not in ATTENTION:  # one may even be fetched
            options["config"] = self._on_a_cpu()
            say(
                f"the configuration of {self.shown} asks for attention {sentences.shown(kernel)}; "
                f"Hugging Face's model computes {ATTENTION[0]!r} attention here"
            )
        try:
            loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
                **self._source, **options
            )
        except pickle.UnpicklingError as error:
            raise BadInput(
                f"no weights for {self.shown}: its pickled file holds more than tensors, and code "
                "of a checkpoint is not run; save it as safetensors."
            ) from error
        except OSError as error:
            raise BadInput(f"no weights for {self.shown}: {_reason(error)}.") from error
        except Exception as error:  # of any type, by what is wrong
            reason = self._other_shape(shapes) or _field(error, stored)
            reason = reason or sentences.described(error, sys.path)
            raise BadInput(f"checkpoint {self.shown} does not load: {reason}.") from error
        model, info = loaded
        absent = sorted(info["missing_keys"])  # transformers would fill them with random numbers
        if absent:
            raise BadInput(f"checkpoint {self.shown} lacks {_weights(absent)}.")
        for text in _beside(model, sorted(info["unexpected_keys"]), stored):
            say(f"checkpoint {self.shown} {text}")
        with_older_names(model.config).return_dict = True
        if narrow:
            upcast.install(model, self._in_float32)
        return model.eval()

    def _in_float32(self) -> transformers.PreTrainedModel:
        """The model with random weights."""
        return transformers.AutoModelForCausalLM.from_config(self._on_a_cpu(), dtype=torch.float32)

    def _on_a_cpu(self) -> transformers.PretrainedConfig:
        """The configuration, with attention that any machine computes."""
        config = self.config()
        config._attn_implementation = ATTENTION[0]
        return config

    def _other_shape(self, shapes: Mapping[str, tuple[int, ...]]) -> str:
        """The first weight of another shape than the configuration asks for; "" if none is."""
        try:
            with torch.device("meta"):
                model = transformers.AutoModelForCausalLM.from_config(self.config())
            wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        except Exception:  # noqa: BLE001 - something else is wrong with it
            return ""
        for name in sorted(wanted.keys() & shapes.keys()):
            if wanted[name] != shapes[name]:
                return (
                    f"{name!r} has shape {list(shapes[name])}, and the configuration asks for "
                    f"{list(wanted[name])}"
                )
        return ""

    def tokenizer(self) -> Any:  # transformers has no common base class with __call__ and decode
        """The tokenizer.

        Raises:
            BadInput: there is none, or it is damaged.
        """
        try:
            return transformers.AutoTokenizer.from_pretrained(**self._source)
        except (OSError, ValueError) as error:
            raise BadInput(
                f"no tokenizer in {self.shown}; a prompt of token ids needs none."
            ) from error
        except Exception as error:  # of any type, by what is wrong
            raise BadInput(
                f"the tokenizer of {self.shown} is damaged: {_reason(error)}; a prompt of token "
                "ids needs none."
            ) from error

    def _absent(self, error: OSError) -> str:
        if pathlib.Path(self.name).is_dir():
            return f"folder {self.shown}: {_reason(error)}."
        if self.local_files_only:
            where = "not in the Hugging Face cache; --download fetches it, where the hub answers"
        else:
            where = "not on the Hugging Face hub"
        return f"no checkpoint {self.shown}: no such folder, and {where}."


def _stored(folder: pathlib.Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Name -> shape and dtype, as safetensors has it, of the tensors of a folder's weights.

    Raises:
        BadInput: a file is damaged.
    """
    stored: dict[str, tuple[tuple[int, ...], str]] = {}
    for path in sorted(folder.glob("model*.safetensors")):
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                slices = {name: file.get_slice(name) for name in sorted(file.keys())}
            for name, one in slices.items():
                stored[name] = tuple(one.get_shape()), one.get_dtype()
        except Exception as error:  # SafetensorError, OSError
            raise BadInput(
                f"weights {str(path)!r} are damaged: {sentences.first_line(error)}."
            ) from error
    return stored


def _reason(error: Exception) -> str:
    """What transformers says of a file that it cannot use, without its advice."""
    lines = sentences.said(error).strip().split("\n\n")[0].splitlines()
    if isinstance(error, OSError):
        lines = lines[:1]
    text = sentences.shortened(lines[-1], sentences.LONGEST // 2).rstrip(".") if lines else ""
    return text or type(error).__name__


def _field(error: Exception, stored: Mapping[str, Any]) -> str:
    """The field of a configuration whose value transformers looks up in vain; "" if none is."""
    if not isinstance(error, KeyError):
        return ""
    fields = [name for name, value in stored.items() if value == error.args[0]]
    return f"transformers knows no {fields[0]} {error.args[0]!r}" if fields else ""


def _weights(names: Sequence[str]) -> str:
    """How many weights, and the name of the first."""
    if len(names) == 1:
        return f"the weight {names[0]!r}"
    return f"{len(names)} weights, {names[0]!r} the first"


def _beside(
    model: transformers.PreTrainedModel, ignored: Sequence[str], stored: Mapping[str, Any]
) -> Iterator[str]:
    """Where a checkpoint and its configuration, as it is stored, do not agree, in words."""
    asked = stored.get("quantization_config")
    if asked and not getattr(model, "is_quantized", False):
        yield f"asks for quantization {sentences.shown(asked)}, which transformers does not do"
    if ignored:
        yield f"has {_weights(ignored)}, which its configuration has no place for: ignored"
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    own = head is not None and getattr(head, "weight", None) is not embedding.weight
    if getattr(model.config, "tie_word_embeddings", False) and own:
        yield "has an lm_head of its own, which is used, though its configuration says tied"


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
    checkpoint = HubCheckpoint(name, cache_dir, local_files_only=True)
    try:
        if name and pathlib.Path(name).is_dir():
            return checkpoint
        is_file = bool(name) and pathlib.Path(name).exists()
    except (OSError, ValueError):  # a name that is too long, or has a null character
        is_file = False
    if is_file:
        raise BadInput(
            f"checkpoint {checkpoint.shown} is a file; give the folder that holds config.json."
        )
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise BadInput(
            f"no checkpoint {checkpoint.shown}: no such folder, and not a hub id."
        ) from error
    return HubCheckpoint(name, cache_dir, not (download and network.hub_reachable()))


def check_config(checkpoint: HubCheckpoint) -> transformers.PretrainedConfig:
    """Check a configuration before any weights are loaded. Returns transformers' configuration.

    The rope type of a Phi-3 is checked here: see `PHI3_ROPE_TYPES`.

    Raises:
        BadInput: no configuration, one that transformers refuses or that does not fit the files.
    """
    stored = checkpoint.config_dict()
    rope = _dict(stored.get("rope_parameters") or stored.get("rope_scaling"))
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if stored.get("model_type") == "phi3" and kind not in PHI3_ROPE_TYPES:
        raise BadInput(
            f"rope type {sentences.shown(kind)} in {checkpoint.shown}: Phi-3 has 'longrope' or "
            "none."
        )
    config = with_older_names(checkpoint.config())
    vocabulary(config)
    positions(config)
    checkpoint.check_layers(config)
    return config


def vocabulary(config: transformers.PretrainedConfig) -> int:
    """The number of token ids. Raises BadInput where a configuration has none that is one."""
    size = getattr(config.get_text_config(), "vocab_size", None)
    if not _counts(size):
        raise BadInput(
            f"the configuration's vocab_size is {sentences.shown(size)}; a language model has a "
            "whole number of at least 1."
        )
    return size


def positions(config: transformers.PretrainedConfig) -> int | None:
    """Positions that a checkpoint is made for, None where its configuration does not say.

    Raises:
        BadInput: it says something else than a number of them.
    """
    most = getattr(config, "max_position_embeddings", None)
    if most is not None and not _counts(most):
        raise BadInput(
            f"the configuration's max_position_embeddings is {sentences.shown(most)}; a whole "
            "number of at least 1 is needed."
        )
    return most


def _counts(value: Any) -> TypeGuard[int]:
    """Whether a value is a number of things, which torch can count."""
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**62


def check_positions(max_seq_len: int, config: transformers.PretrainedConfig) -> None:
    """Raises BadInput for more positions than the checkpoint's configuration has."""
    most = positions(config)
    if most is not None and max_seq_len > most:
        raise BadInput(f"{max_seq_len} positions: the checkpoint is made for at most {most}.")
