"""Prompts: text and token ids that a command line names, each checked before use."""

import json
import pathlib
import re
from collections.abc import Collection
from typing import Any

import torch

from ttnn_verify import sentences
from ttnn_verify.huggingface.inputs import BadInput

PROMPTS = pathlib.Path(__file__).parent / "prompts"

DIGITS = 18  # of a token id, at most: what int64 holds


def read_text(path: str | pathlib.Path) -> str:
    """The contents of a text file.

    Raises:
        BadInput: it cannot be read, or is not UTF-8.
    """
    shown = sentences.shown(str(path), sentences.LONGEST // 2)
    try:
        return pathlib.Path(path).read_text(encoding="utf-8-sig")  # as some editors begin a file
    except OSError as error:
        raise BadInput(f"prompt file {shown}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"prompt file {shown} is not UTF-8 text.") from error
    except ValueError as error:  # a null character
        raise BadInput(f"prompt file {shown}: {error}.") from error


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
    except (ValueError, RecursionError):  # ValueError of numbers that are thousands of digits long
        ids = text.replace(",", " ").split()
    ids = ids if isinstance(ids, list) else [ids]
    if ids and all(isinstance(row, list) for row in ids):
        if len(ids) != 1:
            raise BadInput(
                f"{str(path)!r} holds a batch of {len(ids)} prompts: only 1 is supported."
            )
        ids = ids[0]
    return torch.tensor([[_id(value, path) for value in ids]], dtype=torch.int64)


def _id(value: Any, path: str | pathlib.Path) -> int:
    """A token id of a file. Raises BadInput for anything that is none."""
    text = value if isinstance(value, str) else sentences.shown(value)
    if not re.fullmatch(r"-?[0-9]+", text):
        raise BadInput(
            f"prompt ids file {str(path)!r} holds {sentences.shown(value)}: token ids are integers."
        )
    if len(text.lstrip("-0")) > DIGITS:
        raise BadInput(f"prompt id {sentences.shortened(text, 60)} is outside of any vocabulary.")
    return int(text)


def encode(text: str, tokenizer: Any) -> torch.Tensor:
    """The token ids `[1, S]` of a prompt, with the special tokens that the tokenizer adds.

    Raises:
        BadInput: the text is empty, or the tokenizer fails or makes no token of it, as does one
            that transformers makes up for a checkpoint without.
    """
    if not text.strip():
        raise BadInput(f"the prompt {text!r} is empty; it needs at least one token.")
    try:
        ids = torch.tensor([tokenizer(text).input_ids], dtype=torch.int64)
    except Exception as error:  # it comes from a file
        reason = sentences.first_line(error) or type(error).__name__
        raise BadInput(
            f"the checkpoint's tokenizer fails: {reason}; a prompt of token ids needs none."
        ) from error
    if not ids.numel():
        raise BadInput(
            "no tokenizer: the checkpoint has none that makes tokens of text; a prompt of token "
            "ids needs none."
        )
    return ids


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
        raise too_few_stretches(*prompts.shape)


def too_few_stretches(count: int, length: int) -> BadInput:
    """The error that a text has not so many different stretches of so many tokens."""
    return BadInput(
        f"the text has no {count} different stretches of {length} tokens, one for each row of the "
        "batch; a longer prompt or a smaller batch is needed."
    )


def random_ids(count: int, vocabulary: int, special: Collection[int]) -> torch.Tensor:
    """`[1, count]` ids of a vocabulary, the same in each run, none of the special ones."""
    special = sorted(id for id in set(special) if 0 <= id < vocabulary)
    if len(special) == vocabulary:
        special = []
    plain = torch.randint(vocabulary - len(special), (1, count), generator=torch.Generator())
    for id in special:
        plain += plain >= id
    return plain


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
