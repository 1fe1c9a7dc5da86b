"""Tier e2e: the whole model against Hugging Face's, and against itself."""

from typing import Any

import pytest
import torch

from ttnn_verify import jobs
from ttnn_verify.huggingface import accuracy, inputs, verdict
from ttnn_verify.numerics import floors, tolerance
from ttnn_verify.suite import bounds, figures
from ttnn_verify.suite.plugin import proceed
from ttnn_verify.suite.subject import Subject

# Tokens of a prompt about whole tiles of 32: one, two, a row less, a row more.
LENGTHS = (1, 31, 32, 33, 63, 64, 65)

ROW = 33  # tokens of each row of a batch
GENERATED = 16  # tokens
BEYOND = 33  # tokens of a prompt beyond the length up to which LongRoPE takes its short factors
CROSSED = 2  # tokens before and after that length, decoded
LONG_ROPE = ("longrope", "su")

every_length = pytest.mark.parametrize("length", LENGTHS, ids=lambda n: f"prefill{n}")


def room(subject: Subject, length: int, decoded: int = 0) -> None:
    """Skip a test of more tokens than the model has positions for."""
    reason = subject.unfit(length, decoded)
    if reason:
        pytest.skip(reason)


class LogitsCheck:
    """Compares logits in a test, and collects what is wrong with them."""

    def __init__(self, name: str, record_property: Any) -> None:
        self.name, self.record = name, record_property
        self.wrong: list[str] = []  # a sentence for each
        self.details: list[str] = []

    def rows(
        self, case: str, expected: torch.Tensor, actual: torch.Tensor, floor: floors.Floor
    ) -> None:
        """Compare rows `[R, V]`."""
        verdict, entry = figures.judged(f"e2e.{self.name}", case, expected, actual, floor)
        self.record(*entry)
        if not verdict.passed:
            self.wrong.append(f"logits, {case}: {verdict.headline}")
            self.details.append(f"{case}: {verdict.line}")

    def last_rows(self, case: str, bound: bounds.BoundedLogits, actual: torch.Tensor) -> None:
        """Compare rows `[R, V]` with Hugging Face's last ones of a text."""
        self.rows(case, bound.exact[-len(actual) :], actual, bound.floor(len(actual)))

    def end(self) -> None:
        """Fail if anything is wrong."""
        if self.wrong:
            headline, *others = self.wrong
            pytest.fail(tolerance.failure(headline, *others, *self.details), pytrace=False)


@pytest.fixture
def check(request: pytest.FixtureRequest, record_property: Any) -> LogitsCheck:
    """The checks of a test, named as the test is."""
    return LogitsCheck(request.node.originalname.removeprefix("test_"), record_property)


@pytest.fixture(scope="module")
def reference(subject: Subject) -> accuracy.Reference:
    """What Hugging Face writes after the longest prompt that leaves room for it."""
    new = subject.settings.new_tokens
    length = min(subject.settings.lengths[0], subject.capacity - new)
    if length < 1:
        pytest.skip(f"{new} new tokens: the model has {subject.capacity} positions.")
    return accuracy.reference(subject.hf_model, subject.ids(length), new)


# How the prompt is given -> what its steps are called; they themselves are decoded in either case.
STEPS = {"prefill": "steps after a prefilled prompt", "decode": "steps after a decoded prompt"}


@pytest.mark.parametrize("mode", STEPS)
def test_teacher_forcing(
    mode: str,
    subject: Subject,
    reference: accuracy.Reference,
    check: LogitsCheck,
    record_property: Any,
) -> None:
    """Top-1, top-5, PCC and KL along Hugging Face's text; the prompt at once, or by decode too."""
    with jobs.model_runs("the model"):
        score = accuracy.score(subject.model, reference, prefill_decode=mode == "decode")
    record_property("top-1", f"{score.top1:.4f}")
    record_property("top-5", f"{score.top5:.4f}")
    record_property("KL", f"{float(score.kl_steps.mean()):.3g} nats")
    text = torch.cat((reference.prompt_ids, reference.tokens[None]), 1)[:, :-1]
    check.last_rows(STEPS[mode], subject.bounds(text), score.logits)
    error = verdict.explained(subject.hf_model, reference, tolerance.K * subject.noise)
    check.wrong += verdict.failures(score, verdict.bounds_by(error, reference))
    if not score.nonfinite:
        surprises = verdict.surprises(score, error)
        check.wrong += surprises[: figures.SHOWN]
        if len(surprises) > figures.SHOWN:
            check.wrong.append(f"and {len(surprises) - figures.SHOWN} more such choices")
    check.end()


@every_length
def test_prompt(length: int, subject: Subject, check: LogitsCheck) -> None:
    """The logits of a prompt: of all its tokens, or of the last one alone."""
    room(subject, length)
    ids = subject.ids(length)
    logits, _ = subject.run(ids)
    if logits.shape[:2] not in ((1, 1), (1, length)):
        pytest.fail(f"logits of shape {tuple(logits.shape)} for {length} tokens.", pytrace=False)
    check.last_rows(f"prefill{length}", subject.bounds(ids), logits[0])
    check.end()


@every_length
def test_decode_continues_prefill(length: int, subject: Subject, check: LogitsCheck) -> None:
    """A token after a prompt, as Hugging Face has it and as the longer prompt has it."""
    room(subject, length, 1)
    ids = subject.ids(length + 1)
    _, past = subject.run(ids[:, :length])
    step, _ = subject.run(ids[:, length:], past)
    longer, _ = subject.run(ids)
    bound = subject.bounds(ids)
    check.last_rows(f"token at {length}", bound, step[0, -1:])
    floor = bound.floor(1)
    both = floors.chain(floor, floor)  # each of the two errs by itself
    check.rows(f"prompt of {length + 1} and decode", longer[0, -1:], step[0, -1:], both)
    check.end()


def test_batch(subject: Subject, check: LogitsCheck) -> None:
    """Two rows with different prompts, and a token after them, each as by itself."""
    room(subject, ROW, 1)
    text = subject.ids(ROW + 1)
    ids = torch.cat((text, text.flip(1)))
    try:
        prompt, past = subject.run(ids[:, :ROW])
    except inputs.ModelFails as error:
        pytest.skip(f"the model takes no batch of two: {error}")
    step, _ = subject.run(ids[:, ROW:], past)
    if len(prompt) != len(ids) or len(step) != len(ids):
        pytest.fail(f"logits of {len(prompt)} and {len(step)} rows for a batch of two.", False)
    for row, tokens in enumerate(ids):
        before, after = (subject.bounds(part[None]) for part in (tokens[:ROW], tokens))
        check.last_rows(f"row {row}, prefill{ROW}", before, prompt[row])
        check.last_rows(f"row {row}, decode", after, step[row, -1:])
    check.end()


def test_another_sequence_leaves_nothing_behind(subject: Subject) -> None:
    """Bit for bit: a prompt and its tokens on a fresh model, and again after another prompt."""
    first = subject.first_run
    for phase in first.phases if not first.fresh else ():
        proceed(phase)
    past = None
    subject.run(subject.ids(ROW).flip(1) if subject.capacity >= ROW else subject.ids(1))
    for number, (tokens, fresh) in enumerate(zip(subject.calls(), first.fresh, strict=True)):
        again, past = subject.run(tokens, past)
        if not torch.equal(again, fresh):
            differ = int((again != fresh).sum()) if again.shape == fresh.shape else fresh.numel()
            pytest.fail(
                f"call {number} of the sequence: {differ} of {fresh.numel()} logits are not those "
                "of a fresh model.",
                pytrace=False,
            )


def test_generate(subject: Subject) -> None:
    """Greedy `generate` writes the tokens that the model's own logits prefer, step by step."""
    generate = getattr(subject.model, "generate", None)
    if not callable(generate):
        pytest.skip("the model has no generate.")
    room(subject, ROW, GENERATED)
    ids = subject.ids(ROW)
    with jobs.model_runs("generate"):
        written = generate(ids, max_new_tokens=GENERATED, do_sample=False)[0, ROW:]
    if not len(written):
        pytest.fail("generate writes no token.", pytrace=False)
    logits, past = subject.run(ids)
    for number, token in enumerate(written.tolist()):
        preferred = int(logits[0, -1].argmax())
        if token != preferred:
            pytest.fail(
                f"token {number}: generate writes {token}, the model's logits prefer {preferred}.",
                pytrace=False,
            )
        if number + 1 < len(written):
            logits, past = subject.run(written[None, number : number + 1], past)


def test_long_rope_prompt(subject: Subject, check: LogitsCheck) -> None:
    """A prompt that is longer than the short factors reach."""
    original = _original_length(subject)
    length = min(subject.capacity, original + BEYOND)
    ids = subject.ids(length)
    logits, _ = subject.run(ids)
    check.last_rows(f"prefill{length}", subject.bounds(ids), logits[0])
    check.end()


def test_long_rope_decode(subject: Subject, check: LogitsCheck) -> None:
    """Tokens that cross the length up to which the short factors reach, one at a time."""
    original = _original_length(subject)
    last = min(subject.capacity, original + CROSSED)
    ids = subject.ids(last)
    _, past = subject.run(ids[:, : original - CROSSED])
    for at in range(original - CROSSED, last):
        step, past = subject.run(ids[:, at : at + 1], past)
        bound = subject.bounds(ids[:, : at + 1])
        check.last_rows(f"token at {at}", bound, step[0, -1:])
    check.end()


def _original_length(subject: Subject) -> int:
    """The length up to which LongRoPE takes its short factors. Skips where none is exceeded."""
    config = subject.hf_model.config
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    if (rope.get("rope_type") or rope.get("type")) not in LONG_ROPE:
        pytest.skip("the configuration has no long rope.")
    original = rope.get("original_max_position_embeddings") or getattr(
        config, "original_max_position_embeddings", None
    )
    if original is None or subject.capacity <= original:
        pytest.skip(
            f"the long factors begin beyond {original} positions: the model has {subject.capacity}."
        )
    return original
