"""The bring-up and the prompt that a command line names, checked before anything large loads."""

import argparse
import contextlib
import dataclasses
import inspect
import sys
import types
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import transformers

from ttnn_verify import backend, cli, model_file, prompt_ids, sentences
from ttnn_verify.backend import MeshShape
from ttnn_verify.files import output_paths
from ttnn_verify.huggingface import inputs, model_results
from ttnn_verify.huggingface.inputs import Undetermined
from ttnn_verify.model_file import model_runs
from ttnn_verify.report import bars
from ttnn_verify.weights import mapped

if TYPE_CHECKING:  # ttnn is slow to import, and a command that only refuses need not wait
    import ttnn


LONGEST_TEXT = 4096  # tokens of held-out text
RANDOM_TEXT = 512  # ids, where there is no tokenizer for it
HELD_OUT = "held-out text"


def _takes(function: Callable[..., Any], name: str) -> bool:
    """Whether a function has an argument of that name, or takes any."""
    parameters = inspect.signature(function).parameters
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


@contextlib.contextmanager
def hugging_face_runs(what: str = "on these tokens") -> Iterator[None]:
    """Within, Hugging Face's model runs; whatever it raises becomes Undetermined.

    Args:
        what: it is given, in words.
    """
    try:
        yield
    except Undetermined:
        raise
    except Exception as error:  # noqa: BLE001 - of any type, by what of the configuration is wrong
        said = sentences.described(error, sys.path)
        cause = None if isinstance(error, StopIteration) else error  # as in `model_runs`
        raise Undetermined(f"Hugging Face's own model fails {what}: {said}.") from cause


def check_reference(logits: torch.Tensor) -> None:
    """Raises Undetermined where Hugging Face's own logits are not finite."""
    wrong = model_results.not_finite(logits)
    if wrong:
        raise Undetermined(wrong)


@dataclasses.dataclass(frozen=True)
class Bringup:
    """A model file, and the device that its model is to run on: a chip, or a mesh of them."""

    model_file: types.ModuleType
    backend: str
    arithmetic: str | None
    device_id: int
    max_seq_len: int
    system: str | None = None
    mesh: MeshShape | None = None

    @property
    def described(self) -> str:
        """The backend as reports name it."""
        return backend.described(self.backend, self.arithmetic, self.system, self.mesh)

    @property
    def takes_batch(self) -> bool:
        """Whether its build_model is told the number of rows."""
        return _takes(self.model_file.build_model, "batch")

    def open_device(self) -> "contextlib.AbstractContextManager[ttnn.Device]":
        return backend.open_device(
            self.backend, self.device_id, self.arithmetic, self.system, self.mesh
        )

    def build(
        self,
        hf_model: transformers.PreTrainedModel,
        device: "ttnn.Device",
        batch: int = 1,
        sent: bars.Sent | None = None,
    ) -> Any:
        """The model on the device: of any class, called as Hugging Face models are.

        Args:
            batch: rows that it is called with. A build_model with an argument of that name, or with
                any, is told more than 1; each other one decides by itself.
            sent: is told what is sent to the device, for a bar.

        Raises:
            inputs.ModelFails: the model file refuses the checkpoint, or fails, or makes something
                that cannot be called.
        """
        build_model, options = self.model_file.build_model, {}
        sent = sent or bars.Sent()
        with model_runs("build_model"), sent.building(hf_model):
            if batch > 1 and self.takes_batch:
                options["batch"] = batch
            model = build_model(hf_model, device, self.max_seq_len, **options)
        mapped.release(hf_model.parameters())  # what was read of a file is on the device now
        return model_results.check_callable(model)


@dataclasses.dataclass(frozen=True)
class Prompt:
    """A checkpoint and the token ids `[B, S]` that it is given: a prompt in each row."""

    checkpoint: inputs.HubCheckpoint
    ids: torch.Tensor

    @property
    def batch(self) -> int:
        return self.ids.shape[0]

    @property
    def length(self) -> int:
        return self.ids.shape[1]


def prompt_text(prompt: Prompt) -> str:
    """The first row of a prompt as text; its ids where the checkpoint has no tokenizer."""
    ids = prompt.ids[0].tolist()
    try:
        return prompt.checkpoint.tokenizer().decode(ids)
    except inputs.BadInput:
        return " ".join(map(str, ids))


def prepare(args: argparse.Namespace, length: int, batch: int = 1) -> tuple[Bringup, Prompt]:
    """The bring-up and the prompts that the arguments name.

    Args:
        args: of a parser with all options of `cli`.
        length: how many tokens of held-out text are the prompt where none is given.
        batch: how many different prompts: see `rows_of`.

    Raises:
        inputs.BadInput: an argument is unusable.
        inputs.ModelFails: the model file fails, or refuses the checkpoint.
        backend.BackendError: the backend is not available.
    """
    bringup = find_bringup(args, args.model_py)
    checkpoint = inputs.find_checkpoint(args.model, args.cache_dir, args.download)
    prompt = find_prompt(args, checkpoint, length, bringup.model_file)
    return bringup, rows_of(args, prompt, batch)


def find_bringup(args: argparse.Namespace, path: str) -> Bringup:
    """The model file at `path` on the device that the arguments name. Raises as `prepare`."""
    picked = backend.pick(args.backend)
    backend.check_arithmetic(picked, args.arithmetic)
    module = model_file.load_model_file(path)
    mesh = model_file.mesh_shape(module)
    system = backend.pick_system(picked, args.system, mesh)
    device_id = args.device_id or 0
    backend.check_device(picked, device_id, system, mesh)
    return Bringup(module, picked, args.arithmetic, device_id, args.max_seq_len, system, mesh)


def find_prompt(
    args: argparse.Namespace,
    checkpoint: inputs.HubCheckpoint,
    length: int,
    module: types.ModuleType | None = None,
) -> Prompt:
    """The prompt for a checkpoint that the model file, where there is one, does not refuse.

    Raises as `prepare`.
    """
    config = check_config(checkpoint, module)
    inputs.check_positions(args.max_seq_len, config)
    ids = read_prompt(args, checkpoint)
    if ids is None:
        prompt_ids.check_length(length, 0, args.max_seq_len, "--max_seq_len")
        text, _, reason = default_text(checkpoint, config)
        if reason:
            cli.note(f"{reason}: the prompt is random ids")
        ids = text.repeat(1, -(-length // text.shape[1]))[:, :length]
    prompt_ids.check_prompt(ids, inputs.vocabulary(config))
    return Prompt(checkpoint, ids)


def check_config(
    checkpoint: inputs.HubCheckpoint, module: types.ModuleType | None
) -> transformers.PretrainedConfig:
    """The configuration of a checkpoint that neither transformers nor the model file refuses.

    Raises as `prepare`.
    """
    config = inputs.check_config(checkpoint)
    model_file.check_config(module, config)
    return config


def rows_of(args: argparse.Namespace, prompt: Prompt, batch: int) -> Prompt:
    """As many different prompts of one length: the first is the prompt `[1, S]` itself.

    The others are stretches of the held-out text; of the prompt itself where it is given as token
    ids, since such a checkpoint need not have a tokenizer.

    Raises:
        inputs.BadInput: there is not enough text for different ones.
    """
    if batch == 1:
        return prompt
    text, checkpoint = prompt.ids, prompt.checkpoint
    if args.prompt_ids_file is None:
        text = default_text(checkpoint, checkpoint.config()).ids
    if batch > text.shape[1]:
        raise prompt_ids.too_few_stretches(batch, prompt.length)
    begin = int(text[0, 0] == getattr(checkpoint.config(), "bos_token_id", None))
    others = prompt_ids.stretches(text, prompt.length, batch, begin)[1:]
    rows = torch.cat((prompt.ids, others))
    prompt_ids.check_different(rows)
    return Prompt(checkpoint, rows)


class DefaultText(NamedTuple):
    """Token ids `[1, S]`, what they are in words, and why they are not held-out text, if so."""

    ids: torch.Tensor
    described: str
    reason: str = ""


def default_text(checkpoint: inputs.HubCheckpoint, config: Any) -> DefaultText:
    """Held-out text; random ids where there is no tokenizer for it."""
    vocabulary = inputs.vocabulary(config)
    try:
        ids = prompt_ids.encode(prompt_ids.heldout_text(), checkpoint.tokenizer())
        prompt_ids.check_prompt(ids, vocabulary)  # transformers makes up tokenizers
        return DefaultText(ids[:, :LONGEST_TEXT], HELD_OUT)
    except inputs.BadInput as error:
        names = ("pad_token_id", "bos_token_id", "eos_token_id")
        special = {id for name in names for id in _ids(getattr(config, name, None))}
        ids = prompt_ids.random_ids(RANDOM_TEXT, vocabulary, special)
        return DefaultText(ids, "random ids", _why_random(error))


def _why_random(error: inputs.BadInput) -> str:
    """Why there is no held-out text, without the advice to give token ids, as is done here."""
    reason, _, _ = sentences.shortened(str(error)).partition("; a prompt of token ids")
    reason = reason.rstrip(".")
    return reason if "tokenizer" in reason else f"no tokenizer for its vocabulary: {reason}"


def _ids(value: Any) -> list[int]:
    """The token ids of a configuration's field: one, several or none."""
    several = value if isinstance(value, (list, tuple)) else [value]
    return [id for id in several if isinstance(id, int)]


def check_outputs(args: argparse.Namespace) -> None:
    """Raises BadInput where --json or --html cannot be written."""
    files = {"--json": args.json, "--html": args.html}
    for option, file in files.items():
        reason = "" if file is None else output_paths.unwritable(file)
        if reason:
            raise inputs.BadInput(f"{option}: {reason}")
    if args.json is not None and args.json == args.html:
        raise inputs.BadInput(f"--json and --html name the same file, {args.json!r}.")


def read_prompt(args: argparse.Namespace, checkpoint: inputs.HubCheckpoint) -> torch.Tensor | None:
    """The prompt's token ids `[1, S]`, None where none is given."""
    if args.prompt_ids_file is not None:
        return prompt_ids.read_ids(args.prompt_ids_file)
    if args.prompt_file is not None:
        return prompt_ids.encode(prompt_ids.read_text(args.prompt_file), checkpoint.tokenizer())
    if args.prompt is not None:
        return prompt_ids.encode(args.prompt, checkpoint.tokenizer())
    return None
