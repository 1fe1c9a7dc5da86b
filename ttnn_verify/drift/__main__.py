"""Find where a TTNN model first computes something else than Hugging Face's.

    python -m ttnn_verify.drift MODEL_PY --model HF_ID_OR_FOLDER [--prompt TEXT] [--json FILE] ...

The exit status is 0 for no drift, 1 for drift, 2 for wrong use and 125 for undetermined, so that
`git bisect run` works on it.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from ttnn_verify import backend, cli, jobs
from ttnn_verify.huggingface import inputs

if TYPE_CHECKING:
    from ttnn_verify.drift import DriftResult
    from ttnn_verify.drift.attribution import Share

DEFAULT_PROMPT_LENGTH = 33  # one row more than a tile
DEFAULT_DECODED = 3


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.CommandLine("python -m ttnn_verify.drift", __doc__.splitlines()[0])
    add = parser.add_argument
    cli.add_model_file(parser)
    cli.add_prompt(parser, f"{DEFAULT_PROMPT_LENGTH} tokens of held-out text")
    cli.add_count(add, "--prompt_tokens", say="use so many tokens of the prompt at most")
    cli.add_count(add, "--decoded", DEFAULT_DECODED, "the last tokens, given one at a time")
    cli.add_max_seq_len(add)
    add(
        "--accurate",
        action="store_true",
        help="judge products and norms by the most accurate arithmetic, whatever they are called "
        "with",
    )
    quick = parser.add_mutually_exclusive_group()
    quick.add_argument(
        "--first", action="store_true", help="end with the first bad operation, no table"
    )
    quick.add_argument(
        "--frugal",
        action="store_true",
        help="halve over layers, then over operations, reading one value per run of the model: for "
        "a slow device; it sees what is plainly wrong",
    )
    add(
        "--attribution", action="store_true", help="add each op family's share of the logits' error"
    )
    add("--json", metavar="FILE", help="write the result there, too")
    add("--html", metavar="FILE", help="write a page with the table and a picture there")
    cli.add_backend(add)
    cli.add_device_id(add)
    cli.add_cache(add)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    backend.quiet()
    inputs.quiet_transformers()
    from ttnn_verify.drift import DriftUndetermined  # ttnn, which it imports, is slow

    try:
        return run(args, *prepare(args))
    except (inputs.BadInput, backend.BackendError) as error:
        return cli.refuse(error)
    except (inputs.ModelFails, DriftUndetermined) as error:
        return cli.undetermined(error)


def prepare(args: argparse.Namespace) -> tuple[jobs.Bringup, jobs.Prompt]:
    """The bring-up, and its tokens: the prompt and those after it. All arguments are checked."""
    for file in filter(None, (args.json, args.html)):
        if not pathlib.Path(file).absolute().parent.is_dir():
            raise inputs.BadInput(f"{file!r}: there is no such folder to write to.")
    length = args.prompt_tokens or DEFAULT_PROMPT_LENGTH + args.decoded
    bringup, prompt = jobs.prepare(args, length)
    prompt = jobs.Prompt(prompt.checkpoint, prompt.ids[:, : args.prompt_tokens])
    if prompt.length <= args.decoded:
        raise inputs.BadInput(
            f"a prompt of {prompt.length} tokens, of which {args.decoded} are given one at a time: "
            "it needs at least one more."
        )
    before = prompt.length - args.decoded
    inputs.check_length(before, args.decoded, args.max_seq_len, "--max_seq_len")
    return bringup, prompt


def run(args: argparse.Namespace, bringup: jobs.Bringup, prompt: jobs.Prompt) -> int:
    """Run what the arguments select and print it. Returns the exit status."""
    from ttnn_verify.drift import attribute, halve, locate, measure

    hf_model = prompt.checkpoint.hf_model(torch.float32)
    hf_model.set_attn_implementation("eager")
    with bringup.open_device() as device, jobs.model_runs("the model"):
        model = bringup.build(hf_model, device)
        measured = model, hf_model, prompt.ids, args.decoded
        if args.first:
            finding = locate(*measured, args.accurate)
            print(f"first bad op: {finding.line}" if finding else "no drift")
            return cli.SO if finding else cli.FINE
        if args.frugal:
            bad = halve(*measured)
            print(bad.line)
            return cli.SO if bad.step else cli.FINE
        drift = measure(*measured, args.accurate)
        shares = attribute(*measured) if args.attribution else ()
    return report(args, bringup, prompt, drift, shares)


def report(
    args: argparse.Namespace,
    bringup: jobs.Bringup,
    prompt: jobs.Prompt,
    drift: "DriftResult",
    shares: "Sequence[Share]",
) -> int:
    """Print the table and what else was found, and write the files. Returns the exit status."""
    from ttnn_verify.report import drift_page, drift_text

    print(*drift_text.lines(drift), *drift_text.shares(shares), drift.line, sep="\n")
    record = drift_text.record(
        drift,
        shares,
        checkpoint=prompt.checkpoint.name,
        backend=bringup.described,
        tokens=prompt.length,
        decoded=args.decoded,
    )
    if args.json:
        pathlib.Path(args.json).write_text(record.to_json())
    if args.html:
        pathlib.Path(args.html).write_text(drift_page.render(record))
    return drift.status


if __name__ == "__main__":
    sys.exit(main())
