"""What the command line of the suite says, checked before anything large loads."""

import argparse
import dataclasses
import os

import pytest
import torch

from ttnn_verify import backend, cli, jobs, prompt_ids
from ttnn_verify.huggingface import inputs

STAGE, SYSTEM = "functional", "n150"
LENGTHS = (64, 33)  # whole tiles, and a row more than one
NEW_TOKENS = 32

PROMPTS = ("prompt", "prompt_file", "prompt_ids_file")


@dataclasses.dataclass(frozen=True)
class SubjectSettings:
    """What the command line says of the model under test.

    Attributes:
        path: of the model file.
        text: the prompt's token ids `[1, S]`; it is repeated where more are needed.
        described_text: what they are, in words.
        lengths: of the prompts of the tiers ops and layers, the longest one first.
        new_tokens: how many tokens teacher forcing goes along.
    """

    path: str
    bringup: jobs.Bringup
    checkpoint: inputs.HubCheckpoint
    text: torch.Tensor
    described_text: str
    lengths: tuple[int, ...]
    new_tokens: int


def add_options(group: pytest.OptionGroup) -> None:
    add = group.addoption
    add(
        *cli.spellings("--model-file"),
        metavar="FILE",
        help="Python file that defines build_model; default: models/MODEL/SYSTEM/STAGE/model.py",
    )
    add("--model", metavar="ID_OR_FOLDER", help="checkpoint: hub id or folder")
    add("--stage", metavar="NAME", help=f"of the bring-up, default {STAGE}")
    cli.add_prompts(add, "held-out text, or random ids where there is none")
    add(
        *cli.spellings("--prompt_lengths"),
        type=lengths,
        default=LENGTHS,
        metavar="N,N",
        help="tokens of the prompts of the tiers ops and layers, default "
        + ",".join(map(str, LENGTHS)),
    )
    cli.add_count(add, "--max_new_tokens", NEW_TOKENS, "tokens of teacher forcing")
    cli.add_max_seq_len(add)
    add(
        *cli.spellings("--device_id"),
        type=cli.whole,
        metavar="N",
        help="the card to use; default: one that is free",
    )
    cli.add_cache(add)


def lengths(text: str) -> tuple[int, ...]:
    """The type of an option that lists lengths: the longest first, each once."""
    return tuple(sorted({cli.positive(part.strip()) for part in text.split(",")}, reverse=True))


def settings_of(config: pytest.Config, picked: str) -> SubjectSettings:
    """The settings of a session on a backend.

    Raises:
        inputs.BadInput: an option is unusable.
        inputs.ModelFails: the model file fails, or refuses the checkpoint.
        backend.BackendError: the backend is not available, or has no such device.
    """
    option = config.option
    if not option.model:
        raise inputs.BadInput("the suite needs --model, a checkpoint: hub id or folder.")
    given = [name for name in PROMPTS if getattr(option, name) is not None]
    if len(given) > 1:
        raise inputs.BadInput(f"--{given[0]} and --{given[1]} are both the prompt; give one.")
    choose_card(config, picked)
    path = _model_file(option)
    # the options have the names of the other commands' arguments
    bringup = jobs.find_bringup(option, str(config.invocation_params.dir / path))
    if picked == "silicon" and bringup.mesh and len(getattr(option, "tx", None) or ()) > 1:
        raise inputs.BadInput("a mesh of cards is one device, and each worker opens its own.")
    checkpoint = inputs.find_checkpoint(option.model, option.cache_dir, option.download)
    hf_config = jobs.check_config(checkpoint, bringup.model_file)
    inputs.check_positions(option.max_seq_len, hf_config)
    text, described = jobs.read_prompt(option, checkpoint), f"--{''.join(given)}"
    if text is None:
        text, described, _ = jobs.default_text(checkpoint, hf_config)
    prompt_ids.check_prompt(text, inputs.vocabulary(hf_config))
    return SubjectSettings(
        path=path,
        bringup=bringup,
        checkpoint=checkpoint,
        text=text,
        described_text=f"{text.shape[1]} tokens of {described}",
        lengths=option.prompt_lengths,
        new_tokens=option.max_new_tokens,
    )


def _model_file(option: argparse.Namespace) -> str:
    if option.model_file is None:
        return f"models/{option.model}/{option.system or SYSTEM}/{option.stage or STAGE}/model.py"
    if option.stage:
        raise inputs.BadInput(
            "--stage says where the model file is, and --model-file names it; give either."
        )
    return option.model_file


def choose_card(config: pytest.Config, picked: str) -> None:
    """Let this process see no card but that of --device-id."""
    number = config.option.device_id
    if number is None or hasattr(config, "workerinput"):  # a worker has it from its controller
        return
    if picked != "silicon":
        if picked != "emulated":
            backend.check_device("emulated", number)  # the simulator has one as well
        return
    names = backend.visible_cards()
    if not 0 <= number < len(names):
        raise backend.BackendError(f"device {number}: there are {len(names)} card(s), from 0 on.")
    if len(getattr(config.option, "tx", None) or ()) > 1:
        raise inputs.BadInput("--device-id is one card, and each worker opens a card of its own.")
    os.environ[backend.VISIBLE] = names[number]
