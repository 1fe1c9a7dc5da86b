"""Find which precision a model can afford, on the device, without a change to its code.

    python -m ttnn_verify.precision MODEL_PY --model HF_ID_OR_FOLDER [--budget kl=0.001]
        [--minimize bytes] [--json FILE] [--html FILE] ...

Weights, caches and compute configs of each place that drift's matching names are made coarser by
intercepting the calls. The exit status is 0, 1 where what is chosen misses the budget on prompts
that the search did not see, 2 for wrong use, which a budget is that the model as it is misses, and
125 where nothing can be told.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from ttnn_verify import backend, cli, ending, jobs, network, prompt_ids
from ttnn_verify.files import atomic
from ttnn_verify.huggingface import inputs
from ttnn_verify.precision.configuration import CHECKS, METRICS, MINIMIZED

if TYPE_CHECKING:
    from ttnn_verify.precision.result import PrecisionResult

EVALUATIONS, PROMPTS, PROMPT_TOKENS = 40, 4, 112


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.CommandLine("ttnn-precision", __doc__.splitlines()[0])
    add = parser.add_argument
    cli.add_model_file(parser)
    add(
        "--budget",
        type=budget,
        metavar="METRIC=BOUND",
        help="kl=NATS at most, or top1=SHARE or pcc=PCC at least; default kl=0.001",
    )
    add(
        "--minimize",
        choices=MINIMIZED,
        default="bytes",
        help="bytes of weights and caches, the default, or the roofline's time",
    )
    add("--sensitivity", action="store_true", help="a table of every knob alone, and no search")
    cli.add_count(add, "--evaluations", EVALUATIONS, "runs of the model along the prompts at most")
    cli.add_count(add, "--prompts", PROMPTS, f"that the search sees; {CHECKS} times as many check")
    cli.add_count(add, "--prompt_tokens", PROMPT_TOKENS, "of each prompt")
    cli.add_seed(add, "which choose the prompts")
    cli.add_prompt(parser, "held-out text, of which each prompt begins with another stretch")
    cli.add_max_seq_len(add)
    add("--json", metavar="FILE", help="write the result there, and the settings for build_model")
    add("--html", metavar="FILE", help="write a page with the front and a heat map there")
    cli.add_backend(add)
    cli.add_device_id(add)
    cli.add_cache(add)
    add(
        *cli.spellings("--no_reuse"),
        action="store_true",
        help="measure anew what earlier runs have measured, and keep nothing",
    )
    return parser.parse_args(argv)


def budget(text: str) -> tuple[str, float]:
    """The type of --budget: a metric and its bound."""
    metric, _, bound = text.partition("=")
    if metric not in METRICS or not bound:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no budget: kl=0.001, top1=0.98 or pcc=0.9999, say."
        )
    most = float("inf") if metric == "kl" else 1.0
    what = {"kl": "a KL divergence in nats, 0 or more", "top1": "a share from 0 to 1"}
    return metric, cli.within(0, most, what.get(metric, "a PCC from 0 to 1"))(bound)


@ending.one_line
def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    backend.quiet()
    inputs.quiet_transformers()
    network.allow(args.download)
    try:
        return run(args)
    except (inputs.BadInput, backend.BackendError) as error:
        return cli.refuse(error)
    except (inputs.ModelFails, jobs.Undetermined) as error:
        return cli.undetermined(error)


def run(args: argparse.Namespace) -> int:
    """Search, print and write. Returns the exit status."""
    jobs.check_outputs(args)
    bringup = jobs.find_bringup(args, args.model_py)
    checkpoint = inputs.find_checkpoint(args.model, args.cache_dir, args.download)
    ids = read_text(args, bringup, checkpoint)
    from ttnn_verify.precision import precision_text, running

    result = running.searched(args, bringup, checkpoint, ids)
    print(*precision_text.lines(result), sep="\n")
    status = cli.FINE if result.holds else cli.SO
    return write(args, result) or status


def read_text(
    args: argparse.Namespace, bringup: jobs.Bringup, checkpoint: inputs.HubCheckpoint
) -> torch.Tensor:
    """The ids `[1, S]` that prompts begin with; all arguments that are about them are checked."""
    config = jobs.check_config(checkpoint, bringup.model_file)
    inputs.check_positions(args.max_seq_len, config)
    if args.prompt_tokens < 2:
        raise inputs.BadInput("--prompt_tokens 1: a prompt and a token after it are two.")
    prompt_ids.check_length(args.prompt_tokens, 0, args.max_seq_len, "--max_seq_len")
    ids = jobs.read_prompt(args, checkpoint)
    if ids is None:
        ids, _, reason = jobs.default_text(checkpoint, config)
        if reason:
            cli.note(f"{reason.rstrip('.')}: prompts begin with random ids")
    prompt_ids.check_prompt(ids, inputs.vocabulary(config))
    if ids.shape[1] < 2:
        raise inputs.BadInput("a text of one token: prompts begin with at least two.")
    return ids


def write(args: argparse.Namespace, result: "PrecisionResult") -> int:
    """Write what --json and --html ask for. Returns FINE, or the status of what fails."""
    try:
        if args.json:
            atomic.write_text(args.json, result.to_json())
        if args.html:
            from ttnn_verify.report import precision_page  # matplotlib is slow to import

            atomic.write_text(args.html, precision_page.render(result))
    except OSError as error:  # a disk that is full by now
        return cli.unwritten(error)
    return cli.FINE


if __name__ == "__main__":
    status = main()
    if backend.pick() == "emulated":
        ending.leave(status)
    sys.exit(status)
