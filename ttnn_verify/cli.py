"""The options that the command lines of this project share, and how all of them refuse.

Each option takes both spellings, `--max_seq_len` and `--max-seq-len`. Nothing here is slow to
import, so that pytest can offer the same options; `jobs` evaluates them.
"""

import argparse
import math
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from ttnn_verify import backend, sentences

# Exit statuses: all is well; what was asked about is so; the command was used wrongly; it cannot
# tell, which `git bisect run` skips.
FINE, SO, WRONG_USE, UNDETERMINED = 0, 1, 2, 125

DIGITS = 18  # of an option's number, at most: what int64 holds


class CommandLine(argparse.ArgumentParser):
    """A parser that reports an error in one line, like all other errors of a command."""

    def __init__(self, prog: str, description: str = "") -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False)
        self._given: list[str] = []

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self._given = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        # argparse looks at what is missing before it looks at what it does not know
        unknown = self._unknown_options()
        if unknown and "required" in message:
            message = f"unrecognized arguments: {' '.join(unknown)}; {message}"
        self.exit(WRONG_USE, f"error: {sentences.shortened(message).rstrip('.')}.\n")

    def _unknown_options(self) -> list[str]:
        """The options of the command line that the parser does not have."""
        given = [word.partition("=")[0] for word in self._given]
        before = given[: given.index("--")] if "--" in given else given
        names = [word for word in before if re.match("--?[A-Za-z]", word)]
        return [name for name in names if name not in self._option_string_actions]


def refuse(error: Exception) -> int:
    """Print a refusal as one line on stderr. Returns the exit status."""
    print("error:", sentences.sentence(error), file=sys.stderr)
    return WRONG_USE


def undetermined(error: Exception) -> int:
    """Print why nothing can be told, as one line on stderr. Returns the exit status."""
    print("could not tell:", sentences.sentence(error), file=sys.stderr)
    return UNDETERMINED


def unwritten(error: OSError) -> int:
    """Print that a result's file could not be written after all. Returns the exit status."""
    named = sentences.shown(error.filename, sentences.LONGEST // 2)
    print(f"could not write {named}: {error.strerror}.", file=sys.stderr)
    return UNDETERMINED


def note(text: str) -> None:
    """Print what was done instead of what may have been expected, as one line on stderr."""
    print(f"note: {sentences.shortened(text)}.", file=sys.stderr)


def judged(failures: Sequence[str]) -> int:
    """Print a line on stderr for each bound that was missed. Returns the exit status."""
    for sentence in failures:
        print(f"failed: {sentence}.", file=sys.stderr)
    return SO if failures else FINE


def positive(text: str) -> int:
    """The type of an option that counts something: an integer of at least 1."""
    if not re.fullmatch(rf"[0-9]{{1,{DIGITS}}}", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(
            f"{sentences.shown(text)} is not a whole number of at least 1, of {DIGITS} digits at "
            "most."
        )
    return int(text)


def whole(text: str) -> int:
    """The type of an option that is an integer."""
    if not re.fullmatch(rf"-?[0-9]{{1,{DIGITS}}}", text):
        raise argparse.ArgumentTypeError(
            f"{sentences.shown(text)} is not a whole number of {DIGITS} digits at most."
        )
    return int(text)


def seed(text: str) -> int:
    """The type of an option that torch.manual_seed takes."""
    low, high = -(2**63), 2**64 - 1
    if re.fullmatch(r"-?[0-9]{1,20}", text) and low <= int(text) <= high:
        return int(text)
    raise argparse.ArgumentTypeError(
        f"{sentences.shown(text)} is no seed: a whole number from -2^63 to 2^64 - 1."
    )


def within(low: float, high: float, what: str) -> Callable[[str], float]:
    """The type of an option that is a number from `low` to `high`.

    Args:
        what: such a number is, in words, for the error.
    """

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (low <= value <= high and math.isfinite(value)):
            raise argparse.ArgumentTypeError(f"{sentences.shown(text)} is not {what}.")
        return value

    return number


def spellings(name: str) -> tuple[str, ...]:
    """An option's spellings, that of `name` first: `--a_b`, `--a-b`."""
    words = name.removeprefix("--")
    both = (name, "--" + words.replace("_", "-"), "--" + words.replace("-", "_"))
    return tuple(dict.fromkeys(both))


# `add_argument` of a parser or of one of its groups, or `addoption` of a group of pytest's.
Add = Callable[..., Any]


def add_count(add: Add, name: str, default: int | None = None, say: str = "") -> None:
    """An option that takes a whole number of at least 1.

    Args:
        say: its help text, to which a default is added.
    """
    shown = None if default is None else f"default {default}"
    text = ", ".join(part for part in (say, shown) if part)
    add(*spellings(name), type=positive, default=default, metavar="N", help=text)


SHARE = within(0, 1, "a share from 0 to 1, such as 0.9 for 90 %")


LOSS = within(0, math.inf, "a loss, a number from 0 on")  # of PCC, or what an error may gain


def add_bounds(add: Add) -> None:
    """What a score must reach, where it is not what is measured: see `bounds`."""
    measured = "default: measured, see docs/evaluate.md"
    add(*spellings("--min_top1"), type=SHARE, metavar="SHARE", help=f"0 to 1; {measured}")
    add(*spellings("--min_top5"), type=SHARE, metavar="SHARE", help=f"0 to 1; {measured}")
    pcc = within(-1, 1, "a PCC, from -1 to 1")
    add(*spellings("--min_pcc"), type=pcc, metavar="PCC", help=f"-1 to 1; {measured}")
    nats = within(0, math.inf, "a KL divergence in nats, a number from 0 on")
    add(*spellings("--max_kl"), type=nats, metavar="NATS", help=f"mean of all steps; {measured}")


def bounds(args: argparse.Namespace) -> dict[str, float]:
    """The bounds that options set, by the fields of `huggingface.verdict.Bounds`."""
    options = {
        "top1": args.min_top1,
        "top5": args.min_top5,
        "pcc": args.min_pcc,
        "kl": args.max_kl,
    }
    return {name: value for name, value in options.items() if value is not None}


def add_model_file(parser: argparse.ArgumentParser) -> None:
    """The model to run: MODEL_PY and --model."""
    parser.add_argument("model_py", metavar="MODEL_PY", help="Python file that defines build_model")
    parser.add_argument(
        "--model", required=True, metavar="ID_OR_FOLDER", help="checkpoint: hub id or folder"
    )


def add_cache(add: Add) -> None:
    """Where a checkpoint that is named by its hub id comes from: --cache_dir, --download."""
    add(*spellings("--cache_dir"), metavar="FOLDER", help="Hugging Face cache")
    add(
        "--download",
        action="store_true",
        help="fetch from the hub what the cache lacks; without it the network is not used",
    )


POSITIONS = 256  # that a model is built for


def add_max_seq_len(add: Add, default: int | None = POSITIONS, say: str = "") -> None:
    text = ", ".join(part for part in ("positions the model is built for", say) if part)
    add_count(add, "--max_seq_len", default, text)


def add_prompt(parser: argparse.ArgumentParser, default: str) -> None:
    """One of --prompt, --prompt_file and --prompt_ids_file, which `jobs.read_prompt` reads.

    Args:
        default: what is used without any of them, for the help text.
    """
    add_prompts(parser.add_mutually_exclusive_group().add_argument, default)


def add_prompts(add: Add, default: str) -> None:
    """The options of `add_prompt`, where the caller sees to it that one at most is given."""
    add("--prompt", metavar="TEXT", help=f"default: {default}")
    add(*spellings("--prompt_file"), metavar="FILE", help="UTF-8 text")
    add(*spellings("--prompt_ids_file"), metavar="FILE", help="token ids")


def add_backend(add: Add) -> None:
    """Where TTNN runs and how an emulated device computes: --backend, --arithmetic, --system."""
    add(
        "--backend",
        choices=backend.BACKENDS,
        help="where TTNN runs; default: the first of these that is there",
    )
    add(
        "--arithmetic",
        choices=backend.ARITHMETICS,
        help="how the emulated device computes: as the kernels do, the default, or in float32 and "
        "rounded once",
    )
    add(
        "--system",
        choices=backend.SYSTEMS,
        help="what is emulated: 1, 2 or 8 chips; default: n150, or the smallest that holds the "
        "MESH_SHAPE of the model file",
    )


def add_seed(add: Add, say: str = "") -> None:
    text = ", ".join(filter(None, ("of torch's random numbers", say, "default 0")))
    add("--seed", type=seed, default=0, metavar="N", help=text)


def add_device_id(add: Add) -> None:
    add(*spellings("--device_id"), type=whole, default=0, metavar="N", help="default 0")
