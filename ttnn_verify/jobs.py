"""The bring-up and the prompt that a command line names, checked before anything large loads."""

import argparse
import contextlib
import dataclasses
import inspect
import types
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
import transformers

from ttnn_verify import backend, cli
from ttnn_verify.huggingface import inputs, model_results

if TYPE_CHECKING:  # ttnn is slow to import, and a command that only refuses need not wait
    import ttnn


LONGEST_TEXT = 4096  # tokens of held-out text
RANDOM_TEXT = 512  # ids, where there is no tokenizer for it
HELD_OUT = "held-out text"


class Undetermined(RuntimeError):
    """What was asked about cannot be determined; the message says why."""


def _takes(function: Callable[..., Any], name: str) -> bool:
    """Whether a function has an argument of that name, or takes any."""
    parameters = inspect.signature(function).parameters
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


@contextlib.contextmanager
def model_runs(what: str) -> Iterator[None]:
    """Within, code of a model's author runs; whatever it raises becomes ModelFails.

    Args:
        what: is running, in words.
    """
    try:
        yield
    except (inputs.BadInput, inputs.ModelFails, backend.BackendError, Undetermined):
        raise
    except Exception as error:
        raise inputs.ModelFails(f"{what} fails: {inputs.described(error)}.") from error


@dataclasses.dataclass(frozen=True)
class Bringup:
    """A model file, and the device that its model is to run on."""

    model_file: types.ModuleType
    backend: str
    arithmetic: str | None
    device_id: int
    max_seq_len: int

    @property
    def described(self) -> str:
        """The backend as reports name it."""
        return backend.described(self.backend, self.arithmetic)

    @property
    def takes_batch(self) -> bool:
        """Whether its build_model is told the number of rows."""
        return _takes(self.model_file.build_model, "batch")

    def open_device(self) -> "contextlib.AbstractContextManager[ttnn.Device]":
        return backend.open_device(self.backend, self.device_id, self.arithmetic)

    def build(
        self, hf_model: transformers.PreTrainedModel, device: "ttnn.Device", batch: int = 1
    ) -> Any:
        """The model on the device: of any class, called as Hugging Face models are.

        Args:
            batch: rows that it is called with. A build_model with an argument of that name, or with
                any, is told more than 1; each other one decides by itself.

        Raises:
            inputs.ModelFails: the model file refuses the checkpoint, or fails, or makes something
                that cannot be called.
        """
        build_model, options = self.model_file.build_model, {}
        with model_runs("build_model"):
            if batch > 1 and self.takes_batch:
                options["batch"] = batch
            model = build_model(hf_model, device, self.max_seq_len, **options)
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
    checkpoint = inputs.find_checkpoint(args.model, args.cache_dir)
    prompt = find_prompt(args, checkpoint, length, bringup.model_file)
    return bringup, rows_of(args, prompt, batch)


def find_bringup(args: argparse.Namespace, path: str) -> Bringup:
    """The model file at `path` on the device that the arguments name. Raises as `prepare`."""
    picked = backend.pick(args.backend)
    backend.check_arithmetic(picked, args.arithmetic)
    model_file = inputs.load_model_file(path)
    return Bringup(model_file, picked, args.arithmetic, args.device_id, args.max_seq_len)


def find_prompt(
    args: argparse.Namespace,
    checkpoint: inputs.HubCheckpoint,
    length: int,
    model_file: types.ModuleType | None = None,
) -> Prompt:
    """The prompt for a checkpoint that the model file, where there is one, does not refuse.

    Raises as `prepare`.
    """
    config = inputs.check_config(checkpoint, model_file)
    inputs.check_positions(args.max_seq_len, config)
    ids = read_prompt(args, checkpoint)
    if ids is None:
        text, described = default_text(checkpoint, config)
        if described != HELD_OUT:
            cli.note(f"no tokenizer in {checkpoint.name!r}: the prompt is {described}")
        ids = text.repeat(1, -(-length // text.shape[1]))[:, :length]
    inputs.check_prompt(ids, config.vocab_size)
    return Prompt(checkpoint, ids)


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
        text, _ = default_text(checkpoint, checkpoint.config())
    begin = int(text[0, 0] == getattr(checkpoint.config(), "bos_token_id", None))
    others = inputs.stretches(text, prompt.length, batch, begin)[1:]
    rows = torch.cat((prompt.ids, others))
    inputs.check_different(rows)
    return Prompt(checkpoint, rows)


def default_text(checkpoint: inputs.HubCheckpoint, config: Any) -> tuple[torch.Tensor, str]:
    """Held-out text `[1, S]`, and what it is; random ids where there is no tokenizer for it."""
    try:
        ids = inputs.encode(inputs.heldout_text(), checkpoint.tokenizer())[:, :LONGEST_TEXT]
        inputs.check_prompt(ids, config.vocab_size)  # transformers makes up tokenizers
        return ids, HELD_OUT
    except inputs.BadInput:
        names = ("pad_token_id", "bos_token_id", "eos_token_id")
        special = {getattr(config, name, None) for name in names}
        plain = torch.tensor([n for n in range(config.vocab_size) if n not in special])
        drawn = torch.randint(len(plain), (1, RANDOM_TEXT), generator=torch.Generator())
        return plain[drawn], "random ids"


def read_prompt(args: argparse.Namespace, checkpoint: inputs.HubCheckpoint) -> torch.Tensor | None:
    """The prompt's token ids `[1, S]`, None where none is given."""
    if args.prompt_ids_file is not None:
        return inputs.read_ids(args.prompt_ids_file)
    if args.prompt_file is not None:
        return inputs.encode(inputs.read_text(args.prompt_file), checkpoint.tokenizer())
    if args.prompt is not None:
        return inputs.encode(args.prompt, checkpoint.tokenizer())
    return None
