"""Teacher forcing: Hugging Face writes a continuation, the TTNN model is led along it and scored.

After each token the model names its next one; whether that is the reference's is one step of
agreement. A wrong answer does not affect later steps: the next input is the reference's again.

Top-5 has two conventions: `top5` asks whether the reference's token is among the model's five,
`reference_top5` whether the model's token is among the reference's five, as tt-metal's tests ask.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
import transformers

from ttnn_verify.huggingface import model_results
from ttnn_verify.numerics import metrics, tolerance

# Rounding does not explain a choice that the reference ranks behind this many tokens: no healthy
# run came near it, and a model with a wrong input chooses random tokens. November 2026.
PLAUSIBLE = 100

NORMAL_95 = 1.959964  # standard deviations to either side that hold 95 % of a normal distribution

OnTokens = Callable[[int], object]


def _ignore(count: int) -> None:
    """Shows no progress."""


@dataclasses.dataclass(frozen=True)
class Reference:
    """What Hugging Face wrote after a prompt of S tokens, T tokens long.

    Attributes:
        prompt_ids: `[1, S]` int64.
        tokens: `[T]` int64, the greedy continuation.
        logits: `[T, V]` float32; `tokens[t]` was chosen by row t.
        banned_until, banned: the tokens `banned` (end of text) could not be chosen in the steps
            before `banned_until`.
        prefill_seconds, decode_seconds: time for the prompt, and for the T - 1 tokens after it.
    """

    prompt_ids: torch.Tensor
    tokens: torch.Tensor
    logits: torch.Tensor
    banned_until: int
    banned: tuple[int, ...]
    prefill_seconds: float
    decode_seconds: float

    @property
    def choosable(self) -> torch.Tensor:
        """The logits `[T, V]`, -inf where a token could not be chosen."""
        return self.allowed(self.logits)

    def allowed(self, logits: torch.Tensor) -> torch.Tensor:
        """Any model's logits `[T, V]` of these steps, -inf where a token could not be chosen."""
        logits = logits.clone()
        logits[: self.banned_until, list(self.banned)] = -torch.inf
        return logits

    @property
    def perplexity(self) -> float:
        """Of the continuation, as the reference itself sees it."""
        return perplexity(self.logits, self.tokens)

    @property
    def prefill_rate(self) -> float:
        """Tokens of the prompt per second."""
        return _rate(self.prompt_ids.shape[-1], self.prefill_seconds)

    @property
    def decode_rate(self) -> float:
        """Tokens after the first per second."""
        return _rate(len(self.tokens) - 1, self.decode_seconds)


@dataclasses.dataclass(frozen=True)
class Disagreement:
    """A step in which the model chose another token than the reference.

    Attributes:
        step: from 0.
        expected, chosen: the reference's token and the model's.
        margin: by how much the reference prefers its own, in logits.
        rank: of the chosen token among the reference's logits, 0 for the greatest.
    """

    step: int
    expected: int
    chosen: int
    margin: float
    rank: int

    def __str__(self) -> str:
        return (
            f"step {self.step}: token {self.chosen} for {self.expected}, which the reference "
            f"prefers by {self.margin:.3f}; there the token is number {self.rank + 1}"
        )


@dataclasses.dataclass(frozen=True)
class Score:
    """How a model agrees with a reference. `logits` is `[T, V]` float32, as in `Reference`."""

    reference: Reference
    logits: torch.Tensor
    prefill_seconds: float
    decode_seconds: float

    @property
    def ranks(self) -> torch.Tensor:
        """`[T]` int64: the reference token's rank among the tokens that the model could choose."""
        return metrics.rank(self.reference.allowed(self.logits), self.reference.tokens)

    @property
    def choices(self) -> torch.Tensor:
        """`[T]` int64: the tokens that the model chooses."""
        return self.reference.allowed(self.logits).argmax(-1)

    @property
    def choice_ranks(self) -> torch.Tensor:
        """`[T]` int64: the rank of the model's choice among the reference's tokens."""
        return metrics.rank(self.reference.choosable, self.choices)

    @property
    def implausible(self) -> list[int]:
        """Steps in which the model chooses a token outside the reference's first `PLAUSIBLE`."""
        return torch.nonzero(self.choice_ranks >= PLAUSIBLE).flatten().tolist()

    @property
    def disagreements(self) -> list[Disagreement]:
        """The steps in which the model does not choose the reference token."""
        reference, choices, ranks = self.reference, self.choices, self.choice_ranks
        return [
            Disagreement(
                step=step,
                expected=int(reference.tokens[step]),
                chosen=int(choices[step]),
                margin=float(
                    reference.logits[step, reference.tokens[step]]
                    - reference.logits[step, choices[step]]
                ),
                rank=int(ranks[step]),
            )
            for step in torch.nonzero(self.ranks >= 1).flatten().tolist()
        ]

    def defects(self, relative_l2: float) -> list[Disagreement]:
        """The disagreements that an allowed relative L2 error of the logits does not explain.

        The reference prefers its own token by more than `tolerance.near_tie`, or by NaN.
        """
        logits = self.reference.logits
        return [
            step
            for step in self.disagreements
            if not step.margin <= tolerance.near_tie(logits[step.step], relative_l2)
        ]

    @property
    def top1(self) -> float:
        """Share of the steps, 0 to 1, in which the model chooses the reference token."""
        return float((self.ranks < 1).double().mean())

    @property
    def top5(self) -> float:
        """Share of the steps, 0 to 1, in which the reference token is among the model's five."""
        return float((self.ranks < 5).double().mean())

    @property
    def reference_top5(self) -> float:
        """Share of the steps, 0 to 1, in which the model's choice is among the reference's five."""
        return float((self.choice_ranks < 5).double().mean())

    @property
    def perplexity(self) -> float:
        """Of the reference's continuation, as the model sees it."""
        return perplexity(self.logits, self.reference.tokens)

    @property
    def nonfinite(self) -> metrics.NonFinite:
        return metrics.nonfinite(self.logits)

    @property
    def pcc(self) -> float:
        """PCC of all logits of all steps with the reference's."""
        return metrics.pcc(self.reference.logits, self.logits)

    @property
    def pcc_steps(self) -> torch.Tensor:
        """`[T]` float64: PCC of the logits, step by step."""
        pairs = zip(self.reference.logits, self.logits, strict=True)
        return torch.tensor([metrics.pcc(a, b) for a, b in pairs], dtype=torch.float64)

    @property
    def kl_steps(self) -> torch.Tensor:
        """`[T]` float64: KL divergence of the model's next token from the reference's, in nats."""
        return metrics.kl(self.reference.logits, self.logits)

    @property
    def prefill_rate(self) -> float:
        """Tokens of the prompt per second."""
        return _rate(self.reference.prompt_ids.shape[-1], self.prefill_seconds)

    @property
    def decode_rate(self) -> float:
        """Tokens after the first per second."""
        return _rate(len(self.logits) - 1, self.decode_seconds)


def nll(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """`[T]` float64: -log of the probability that logits `[T, V]` give each of the tokens `[T]`."""
    logs = torch.log_softmax(logits.double(), -1)
    return -logs.gather(-1, tokens[:, None])[:, 0]


def perplexity(logits: torch.Tensor, tokens: torch.Tensor) -> float:
    """e to the mean of `nll`."""
    return float(nll(logits, tokens).mean().exp())


def wilson(share: float, steps: int) -> tuple[float, float]:
    """The 95 % interval (low, high) of a share of `steps` steps, by Wilson (1927).

    Unlike the normal approximation it stays within 0 and 1, and has a width at 100 %.
    """
    if not 0 <= share <= 1 or steps < 1:
        raise ValueError(
            f"share {share} of {steps} steps: a share is 0 to 1, of at least one step."
        )
    z = NORMAL_95**2 / steps
    middle = (share + z / 2) / (1 + z)
    spread = math.sqrt(share * (1 - share) * z + z * z / 4) / (1 + z)
    return max(0.0, middle - spread), min(1.0, middle + spread)


@torch.no_grad()
def reference(
    hf_model: transformers.PreTrainedModel,
    prompt_ids: torch.Tensor,
    new_tokens: int,
    min_new_tokens: int | None = None,
    on_tokens: OnTokens = _ignore,
) -> Reference:
    """Let a Hugging Face model write greedily after the prompt.

    Args:
        hf_model: a causal language model of transformers.
        prompt_ids: `[1, S]` integers.
        new_tokens: how many tokens to write at most.
        min_new_tokens: the end of text cannot be chosen before this many; None for `new_tokens`,
            which makes the continuation exactly that long.
        on_tokens: called after each token, with the number of tokens written since the last call.

    Raises:
        ValueError: not one prompt of at least one token, or fewer than one token to write.
    """
    if prompt_ids.ndim != 2 or prompt_ids.shape[0] != 1 or prompt_ids.shape[1] == 0:
        raise ValueError(
            f"prompt_ids of shape {tuple(prompt_ids.shape)}: "
            "teacher forcing takes one prompt, [1, S]."
        )
    minimum = new_tokens if min_new_tokens is None else min_new_tokens
    if not 0 <= minimum <= new_tokens or new_tokens < 1:
        raise ValueError(
            f"min_new_tokens {minimum}, new_tokens {new_tokens}: 0 <= min <= new, 1 <= new."
        )
    end = hf_model.generation_config.eos_token_id
    watch = _StopWatch(on_tokens)
    # set everything that could change a greedy choice, or the checkpoint's own settings apply
    settings = transformers.GenerationConfig(
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        max_new_tokens=new_tokens,
        min_new_tokens=minimum,
        eos_token_id=end,
        pad_token_id=_first(end),
        output_logits=True,
        return_dict_in_generate=True,
        use_cache=True,
    )
    written: Any = hf_model.generate(  # type: ignore[operator]  # its stubs leave out the mixin
        prompt_ids,
        attention_mask=torch.ones_like(prompt_ids),
        generation_config=settings,
        streamer=watch,
    )
    return Reference(
        prompt_ids=prompt_ids,
        tokens=written.sequences[0, prompt_ids.shape[1] :],
        logits=torch.cat(written.logits).float(),
        banned_until=minimum,
        banned=tuple(id for id in _ids(end) if 0 <= id < written.logits[0].shape[-1]),
        prefill_seconds=watch.times[1] - watch.times[0],
        decode_seconds=watch.times[-1] - watch.times[1],
    )


def score(
    model: Callable[..., Any],
    reference: Reference,
    prefill_decode: bool = False,
    on_tokens: OnTokens = _ignore,
) -> Score:
    """Run a model along a reference's tokens and record its logits. As of `scores`."""
    return scores(model, [reference], prefill_decode, on_tokens)[0]


@torch.no_grad()
def scores(
    model: Callable[..., Any],
    references: Sequence[Reference],
    prefill_decode: bool = False,
    on_tokens: OnTokens = _ignore,
) -> list[Score]:
    """Run a model along B references at once, each a row of its batch, and record its logits.

    A row whose reference has ended is given its last token again; what the model says is not
    looked at.

    Args:
        model: called as Hugging Face models are: `model(input_ids, past_key_values=...,
            use_cache=True)` with ids `[B, S]` returns logits `[B, S, V]` or `[B, 1, V]` and
            past_key_values.
        references: their prompts have the same length.
        prefill_decode: give the prompts token by token too, through the decode path.
        on_tokens: called after each call of the model, with the tokens that a row was given.

    Raises:
        ValueError: prompts of several lengths.
        inputs.ModelFails: the model returns something else.
    """
    lengths = {reference.prompt_ids.shape[1] for reference in references}
    if len(lengths) != 1:
        raise ValueError(f"prompts of {sorted(lengths)} tokens: all rows have one length.")
    prompts = torch.cat([reference.prompt_ids for reference in references])  # [B, S]
    most = max(len(reference.tokens) for reference in references)
    tokens = torch.stack(
        [torch.cat((r.tokens, r.tokens[-1].expand(most - len(r.tokens)))) for r in references]
    )  # [B, T]
    prefill = prompts.split(1, dim=1) if prefill_decode else (prompts,)
    calls = (*prefill, *tokens[:, :-1].split(1, dim=1)) if most > 1 else prefill
    steps, times = [], [time.perf_counter()]
    vocab = references[0].logits.shape[-1]
    for number, logits in enumerate(model_results.lead(model, calls, vocab), 1):
        times.append(time.perf_counter())
        on_tokens(calls[number - 1].shape[1])
        if number >= len(prefill):  # the prompt's last tokens are followed by the first new ones
            steps.append(logits)
    prefilled = times[len(prefill)]
    seconds = prefilled - times[0], times[-1] - prefilled
    rows = torch.stack(steps, dim=1)  # [B, T, V]
    return [
        Score(reference, row[: len(reference.tokens)], *seconds)
        for reference, row in zip(references, rows, strict=True)
    ]


class _StopWatch:
    """A streamer for `generate`, which hands it the prompt first, then each chosen token."""

    def __init__(self, on_tokens: OnTokens) -> None:
        self.times: list[float] = []
        self._on_tokens = on_tokens

    def put(self, tokens: torch.Tensor) -> None:
        self.times.append(time.perf_counter())
        if len(self.times) > 1:
            self._on_tokens(1)

    def end(self) -> None:
        pass


def _ids(token_ids: int | list[int] | tuple[int, ...] | None) -> tuple[int, ...]:
    """Token ids of a configuration, where they are None, one or several, as a tuple."""
    if token_ids is None:
        return ()
    return tuple(token_ids) if isinstance(token_ids, (list, tuple)) else (int(token_ids),)


def _first(token_ids: int | list[int] | tuple[int, ...] | None) -> int | None:
    return _ids(token_ids)[0] if _ids(token_ids) else None


def _rate(tokens: int, seconds: float) -> float:
    return tokens / seconds if seconds > 0 else 0.0
