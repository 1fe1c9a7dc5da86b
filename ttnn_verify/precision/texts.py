"""The tokens on which precisions are compared: Hugging Face's own continuations of a text.

Each prompt begins with another stretch of the text; where the text is too short for whole prompts,
Hugging Face's model goes on by sampling, with a seed. So prompts of any number and length are what
the model itself would write, and two seeds give different ones.
"""

import dataclasses
from typing import Any

import torch
import transformers

from ttnn_verify import prompt_ids
from ttnn_verify.drift.observation import walk

DECODED = 8  # last tokens of a prompt, given one at a time
BEGINNING = 16  # tokens of a prompt that are of the text, where that is short


@dataclasses.dataclass(frozen=True)
class Text:
    """Prompts, and the logits that Hugging Face's model has for each of their tokens.

    Attributes:
        ids: `[B, S]` int64.
        logits: `[B, S, V]` float32.
    """

    ids: torch.Tensor
    logits: torch.Tensor

    @property
    def sequences(self) -> list[walk.TokenSequence]:
        """The prompts as a model is led along them: a prompt, then tokens one at a time."""
        length = self.ids.shape[1]
        decoded = min(DECODED, length - 1)
        counts = ((length - decoded,), *((1,),) * decoded)
        return [walk.TokenSequence((row,), counts) for row in self.ids]

    def part(self, rows: slice) -> "Text":
        """Some of the prompts."""
        return Text(self.ids[rows], self.logits[rows])


@torch.no_grad()
def written(hf_model: Any, text: torch.Tensor, count: int, length: int, seed: int) -> Text:
    """`count` different prompts of `length` tokens, and Hugging Face's logits of them.

    Args:
        hf_model: a causal language model of transformers in float32.
        text: ids `[1, S]`, the first of which, where it begins a text, begins each prompt.
        seed: of where the stretches begin, and of what is sampled.
    """
    begin = int(text[0, 0] == getattr(hf_model.config, "bos_token_id", None))
    given = min(length, max(BEGINNING, text.shape[1] // count))
    shift = int(torch.randint(text.shape[1] - begin, (), generator=_generator(seed)))
    turned = torch.cat((text[:, :begin], text[:, begin:].roll(shift, 1)), dim=1)
    rows = prompt_ids.stretches(turned, given, count, begin)
    ids = _continued(hf_model, rows, length, seed)
    return Text(ids, torch.cat([hf_model(row[None]).logits.float() for row in ids]))


def _continued(hf_model: Any, rows: torch.Tensor, length: int, seed: int) -> torch.Tensor:
    """Rows `[B, s]` continued to `[B, length]`."""
    if rows.shape[1] == length:
        return rows
    settings = transformers.GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_new_tokens=length - rows.shape[1],
        min_new_tokens=length - rows.shape[1],
        eos_token_id=hf_model.generation_config.eos_token_id,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return hf_model.generate(
            rows, attention_mask=torch.ones_like(rows), generation_config=settings
        )


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
