"""Train the small Phi-3 checkpoint of this project from scratch on the King James Bible.

The result is an ordinary Hugging Face folder (bf16 safetensors, config, tokenizer) of Phi-3's own
class. Its head dimension (96), its LongRoPE and its lack of grouped key/value heads are those of
Phi-3-mini; only the sizes are small. It exists because random weights give flat logits, on which a
count of agreeing predictions says nothing.
"""

import argparse
import copy
import functools
import math
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from tqdm import tqdm
from transformers import GenerationConfig, Phi3Config, Phi3ForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ttnn_verify.files import atomic

# Books with no close parallel elsewhere in the text (unlike Chronicles or the Gospels), so that the
# loss on them measures prediction and not memory.
HELD_OUT_BOOKS = ("Ruth", "Est", "Jonah", "Jas")
WHOLE_BIBLE = "gen1:1-rev22:21"
VERSE = re.compile(r"(\d?[A-Za-z]+?)(\d+):\d+ (.+)")

SPECIAL_TOKENS = {
    "unk_token": "<unk>",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "pad_token": "<pad>",
}
UNK_ID, BOS_ID, EOS_ID, PAD_ID = range(4)
VOCAB_SIZE = 2048

HEAD_DIM = 96
SHORT_LENGTH = 256  # the longest sequence that uses LongRoPE's short factors
MAX_LENGTH = 1024  # the longest one that is trained
POSITIONS = 2 * MAX_LENGTH  # room beyond: a prompt in two chunks
# How often a batch has rows of each length. Those above SHORT_LENGTH train the long factors.
LENGTH_SHARES = {256: 0.75, 512: 0.20, 1024: 0.05}
BATCH_TOKENS = 4096


@dataclass
class Corpus:
    """The token streams of the text that is trained on and of the text that is held out."""

    train: torch.Tensor
    held_out: torch.Tensor


class SourceError(Exception):
    """The text to train on is missing or is not in the expected form."""


def read_source(path: str | None) -> str:
    """Return the text of PATH, or what the `bible` command prints when PATH is None."""
    if path is not None:
        try:
            return Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(f"The text file {path!r} cannot be read: {error}.") from error
    if shutil.which("bible") is None:
        raise SourceError(
            "There is no text to train on: the `bible` command (Debian packages bible-kjv and "
            "bible-kjv-text) is not installed and no --text FILE was given."
        )
    command = ["bible", "-f", WHOLE_BIBLE]
    result = subprocess.run(
        command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if result.returncode != 0 or not result.stdout.strip():
        raise SourceError(
            f"The command {' '.join(command)!r} gave no text (exit status {result.returncode})."
        )
    return result.stdout


def split_chapters(source: str) -> dict[tuple[str, int], str]:
    """Return {(book, chapter): running text} of lines such as `Ge1:1 In the beginning ...`."""
    verses: dict[tuple[str, int], list[str]] = {}
    for number, line in enumerate(source.splitlines(), 1):
        if not line.strip():
            continue
        match = VERSE.fullmatch(line.strip())
        if match is None:
            raise SourceError(
                f"Line {number} of the text is {line[:60]!r}, not a verse like 'Ge1:1 In the ...'."
            )
        book, chapter, text = match.groups()
        verses.setdefault((book, int(chapter)), []).append(text)
    chapters = {key: " ".join(texts) for key, texts in verses.items()}
    missing = [book for book in HELD_OUT_BOOKS if not any(key[0] == book for key in chapters)]
    if missing:
        raise SourceError(
            f"The text lacks the books that are to be held out: {', '.join(missing)}."
        )
    return chapters


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer of VOCAB_SIZE tokens that puts <s> before its input."""
    tokenizer = Tokenizer(models.BPE(unk_token=SPECIAL_TOKENS["unk_token"]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=list(SPECIAL_TOKENS.values()),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() != VOCAB_SIZE:
        raise SourceError(
            f"The text is too short for a vocabulary of {VOCAB_SIZE} tokens: "
            f"it gives {tokenizer.get_vocab_size()}."
        )
    bos = SPECIAL_TOKENS["bos_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A $B", special_tokens=[(bos, BOS_ID)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=MAX_LENGTH,
        clean_up_tokenization_spaces=False,
        **SPECIAL_TOKENS,
    )


def encode_chapters(tokenizer: PreTrainedTokenizerFast, texts: Iterable[str]) -> torch.Tensor:
    """Return the texts as one stream of token ids, each text between <s> and </s>."""
    stream: list[int] = []
    for text in texts:
        stream += [*tokenizer(text)["input_ids"], EOS_ID]
    return torch.tensor(stream, dtype=torch.long)


def build_corpus(
    tokenizer: PreTrainedTokenizerFast, chapters: dict[tuple[str, int], str]
) -> Corpus:
    """Return the streams of the chapters of the training books and of the held-out books."""
    held_out = [text for (book, _), text in chapters.items() if book in HELD_OUT_BOOKS]
    train = [text for (book, _), text in chapters.items() if book not in HELD_OUT_BOOKS]
    return Corpus(encode_chapters(tokenizer, train), encode_chapters(tokenizer, held_out))


def longrope_factors() -> tuple[list[float], list[float]]:
    """Return LongRoPE's short and long factors, one pair for each rotated pair of dimensions.

    As in the published models the short ones rise a little above 1 and the long ones stay near 1
    for the fast dimensions and grow to the ratio of the two lengths for the slow ones.
    """
    count = HEAD_DIM // 2
    ratio = MAX_LENGTH / SHORT_LENGTH
    positions = [index / (count - 1) for index in range(count)]
    short = [round(1.0 + 0.3 * position**2, 4) for position in positions]
    long = [round(1.02 + (ratio - 1.02) * position**1.5, 4) for position in positions]
    return short, long


def build_config() -> Phi3Config:
    """Return the configuration of the model."""
    short, long = longrope_factors()
    ratio = MAX_LENGTH / SHORT_LENGTH
    # Phi3Config refuses LongRoPE factors whose count is not half of hidden_size over heads, even if
    # a head_dim is given, so with heads of 96 the hidden size fixes the number of heads.
    heads = 4
    return Phi3Config(
        vocab_size=VOCAB_SIZE,
        hidden_size=heads * HEAD_DIM,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=HEAD_DIM,  # type: ignore[call-arg]  # read by Phi3's modules, no field of its own
        max_position_embeddings=POSITIONS,
        original_max_position_embeddings=SHORT_LENGTH,
        rope_parameters={
            "attention_factor": math.sqrt(1 + math.log(ratio) / math.log(SHORT_LENGTH)),
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 1.0,
            "short_factor": short,
            "long_factor": long,
        },
        sliding_window=None,
        tie_word_embeddings=False,
        bos_token_id=BOS_ID,
        eos_token_id=EOS_ID,
        pad_token_id=PAD_ID,
    )


def build_optimizers(model: Phi3ForCausalLM, peak_rate: float) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices of the layers and AdamW for all other parameters.

    Muon needs about half the tokens of AdamW for the same loss here, which counts on a processor.
    Its steps are scaled to the size of AdamW's so that one learning rate serves both.
    """
    matrices: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (matrices if ".layers." in name and parameter.ndim == 2 else others).append(parameter)
    return [
        torch.optim.Muon(matrices, lr=peak_rate, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=peak_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]


def rate_factor(progress: float, warmup: float = 0.02) -> float:
    """Return the share of the peak learning rate at PROGRESS (0 to 1): warm-up, then cosine."""
    if progress < warmup:
        return (progress + 1e-3) / (warmup + 1e-3)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (progress - warmup) / (1.0 - warmup))))


def set_rate(optimizers: Iterable[torch.optim.Optimizer], rate: float) -> None:
    """Give all parameters the learning rate."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate


def take_rows(stream: torch.Tensor, starts: Iterable[int], length: int) -> torch.Tensor:
    """Return rows of <s> and the LENGTH tokens from each start: inputs and targets overlap by all
    but one. Every row begins with <s> because every prompt does."""
    rows = torch.stack([stream[start : start + length] for start in starts])
    return torch.cat([torch.full((len(rows), 1), BOS_ID), rows], dim=1)


def training_batches(stream: torch.Tensor, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Yield batches without end; each pass starts a row once in every SHORT_LENGTH tokens."""
    lengths = list(LENGTH_SHARES)
    shares = torch.tensor(list(LENGTH_SHARES.values()))
    last_start = len(stream) - MAX_LENGTH
    starts: list[int] = []
    while True:
        length = lengths[int(torch.multinomial(shares, 1, generator=generator))]
        row_count = BATCH_TOKENS // length
        if len(starts) < row_count:
            offset = torch.randint(SHORT_LENGTH, (1,), generator=generator).item()
            order = torch.arange(offset, last_start, SHORT_LENGTH)
            starts = order[torch.randperm(len(order), generator=generator)].tolist()
        batch_starts, starts = starts[:row_count], starts[row_count:]
        yield take_rows(stream, batch_starts, length)


def token_losses(model: Phi3ForCausalLM, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the loss of each target of the rows and whether it is the model's first choice."""
    logits = model(input_ids=rows[:, :-1], use_cache=False).logits.float().flatten(0, 1)
    targets = rows[:, 1:].flatten()
    return F.cross_entropy(logits, targets, reduction="none"), logits.argmax(-1) == targets


@torch.no_grad()
def evaluate(model: Phi3ForCausalLM, stream: torch.Tensor, length: int) -> tuple[float, float]:
    """Return mean loss and next-token top-1 accuracy over the whole rows of LENGTH in STREAM."""
    model.eval()
    starts = range(0, len(stream) - length + 1, length)
    losses, hits = [], []
    for start in starts:
        loss, hit = token_losses(model, take_rows(stream, [start], length))
        losses.append(loss)
        hits.append(hit)
    model.train()
    return torch.cat(losses).mean().item(), torch.cat(hits).float().mean().item()


def as_saved(model: Phi3ForCausalLM) -> Phi3ForCausalLM:
    """Return a copy of the model in the number format of the checkpoint."""
    saved = copy.deepcopy(model)
    torch.nn.Module.to(saved, torch.bfloat16)  # transformers' own wrapper of it has a wrong type
    return saved.eval()


def save_checkpoint(model: Phi3ForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write the checkpoint to OUT so that a reader at any time finds only whole files."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        saved = as_saved(model)
        saved.generation_config = GenerationConfig(
            bos_token_id=BOS_ID, eos_token_id=EOS_ID, pad_token_id=PAD_ID, do_sample=False
        )
        tokenizer.save_pretrained(folder)
        saved.save_pretrained(folder)
        # Weights last: a folder with weights then always has the rest.
        for path in sorted(Path(folder).iterdir(), key=lambda path: path.suffix == ".safetensors"):
            atomic.write(out / path.name, functools.partial(shutil.copyfile, path))


def report(model: Phi3ForCausalLM, corpus: Corpus, lengths: Iterable[int]) -> list[str]:
    """Return one sentence of held-out figures for each length."""
    sentences = []
    for length in lengths:
        loss, accuracy = evaluate(model, corpus.held_out, length)
        sentences.append(
            f"at {length} tokens the held-out loss is {loss:.4f}, perplexity {math.exp(loss):.2f}, "
            f"top-1 accuracy {accuracy:.1%}"
        )
    return sentences


def train(
    model: Phi3ForCausalLM,
    corpus: Corpus,
    options: argparse.Namespace,
    save: Callable[[], None],
) -> int:
    """Train until the steps or the minutes are over and return the number of steps."""
    optimizers = build_optimizers(model, options.rate)
    generator = torch.Generator().manual_seed(options.seed)
    began = last_save = time.monotonic()
    smooth_loss = None
    step = 0
    bar = tqdm(total=options.steps, unit="step", disable=not sys.stderr.isatty())
    for rows in training_batches(corpus.train, generator):
        elapsed = time.monotonic() - began
        # With --minutes the schedule follows the clock, since the speed of a shared machine is not
        # known beforehand.
        progress = step / options.steps if options.steps else elapsed / (60 * options.minutes)
        if progress >= 1.0:
            break
        set_rate(optimizers, options.rate * rate_factor(progress))
        with torch.autocast("cpu", torch.bfloat16, enabled=not options.fp32):
            losses, _ = token_losses(model, rows)
        loss = losses.mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        step += 1
        value = loss.item()
        if not math.isfinite(value):
            raise FloatingPointError(f"The loss is {value} at step {step}; lower --rate.")
        smooth_loss = value if smooth_loss is None else 0.98 * smooth_loss + 0.02 * value
        bar.set_postfix(loss=f"{smooth_loss:.3f}", refresh=False)
        bar.update()
        if time.monotonic() - last_save > 60 * options.save_minutes:
            save()
            figures = report(model, corpus, [SHORT_LENGTH])[0]
            tqdm.write(f"Step {step}, {progress:.0%}: training loss {smooth_loss:.3f}; {figures}.")
            sys.stdout.flush()
            last_save = time.monotonic()
    bar.close()
    return step


def parse_arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("assets/phi3-tiny"),
        metavar="FOLDER",
        help="where the checkpoint goes (default: %(default)s)",
    )
    parser.add_argument(
        "--text",
        metavar="FILE",
        help=f"the output of `bible -f {WHOLE_BIBLE}`; default: run that command",
    )
    limit = parser.add_mutually_exclusive_group()
    limit.add_argument(
        "--minutes", type=float, default=50.0, help="how long to train (default: %(default)s)"
    )
    limit.add_argument("--steps", type=int, help="how many batches to train, instead of --minutes")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument(
        "--rate", type=float, default=3e-3, help="peak learning rate (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument(
        "--save-minutes",
        type=float,
        default=3.0,
        help="minutes between checkpoints (default: %(default)s)",
    )
    parser.add_argument(
        "--fp32", action="store_true", help="do not run the matrix products in bfloat16"
    )
    options = parser.parse_args()
    for name in ("minutes", "steps", "rate", "threads", "save_minutes"):
        value = getattr(options, name)
        if value is not None and value <= 0:
            parser.error(f"--{name.replace('_', '-')} must be above 0, not {value}.")
    return options


def main() -> int:
    """Train, save and report the held-out figures of the saved weights."""
    options = parse_arguments()
    # Keeps out advice on other models' configurations and a bar for each saved file.
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    try:
        chapters = split_chapters(read_source(options.text))
        tokenizer = train_tokenizer(
            text for (book, _), text in chapters.items() if book not in HELD_OUT_BOOKS
        )
    except SourceError as error:
        print(error, file=sys.stderr)
        return 2
    corpus = build_corpus(tokenizer, chapters)
    model = Phi3ForCausalLM(build_config()).train()
    count = sum(parameter.numel() for parameter in model.parameters())
    print(
        f"{count} parameters, {len(corpus.train)} training tokens, "
        f"{len(corpus.held_out)} held-out tokens.",
        flush=True,
    )
    began = time.monotonic()
    steps = train(model, corpus, options, lambda: save_checkpoint(model, tokenizer, options.out))
    minutes = (time.monotonic() - began) / 60
    save_checkpoint(model, tokenizer, options.out)
    print(
        f"Trained {steps} steps of {BATCH_TOKENS} tokens ({steps * BATCH_TOKENS} tokens) "
        f"in {minutes:.1f} minutes."
    )
    for sentence in report(as_saved(model).float(), corpus, LENGTH_SHARES):
        print(f"{sentence[0].upper()}{sentence[1:]}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
