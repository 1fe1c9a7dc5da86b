"""Find where a TTNN model first computes something else than Hugging Face's.

    python -m ttnn_verify.drift MODEL_PY --model HF_ID_OR_FOLDER [--prompt TEXT] [--json FILE] ...

The exit status is 0 for no drift, 1 for drift, 2 for wrong use and 125 for undetermined, so that
`git bisect run` works on it.
"""

import argparse
import contextlib
import dataclasses
import functools
import os
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ttnn_verify import backend, cli, ending, jobs, network, prompt_ids
from ttnn_verify.files import atomic, output_paths
from ttnn_verify.huggingface import inputs

if TYPE_CHECKING:
    from ttnn_verify.drift import DriftResult, OpFinding
    from ttnn_verify.drift.attribution import Share
    from ttnn_verify.drift.reproducer import Capture
    from ttnn_verify.drift.running.job import Job
    from ttnn_verify.drift.search import SearchResult
    from ttnn_verify.report.drift.drift_record import DriftRecord
    from ttnn_verify.report.drift.drift_text import DriftRun

DEFAULT_PROMPT_LENGTH = 33  # one row more than a tile
DEFAULT_DECODED = 3
LONGEST = 1152  # positions: a chunk of 1024, and more


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.CommandLine("ttnn-drift", __doc__.splitlines()[0])
    add = parser.add_argument
    cli.add_model_file(parser)
    cli.add_prompt(parser, f"{DEFAULT_PROMPT_LENGTH} tokens of held-out text")
    cli.add_count(add, "--prompt_tokens", say="use so many tokens of the prompt at most")
    cli.add_count(add, "--decoded", DEFAULT_DECODED, "the last tokens, given one at a time")
    cli.add_max_seq_len(
        add, None, f"default {cli.POSITIONS}, and again up to {LONGEST} for long sequences"
    )
    add("--thorough", action="store_true", help="long sequences of a large model, too")
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
    add(
        "--reproduce",
        metavar="DIR",
        help="write the first bad call there as a program of its own, with its operands; DIR is "
        "made, or is empty",
    )
    add("--json", metavar="FILE", help="write the result there, too")
    add("--html", metavar="FILE", help="write a page with the table and a picture there")
    cli.add_backend(add)
    cli.add_device_id(add)
    cli.add_cache(add)
    add(
        *cli.spellings("--no_reuse"),
        action="store_true",
        help="compute anew what earlier runs have computed, and keep nothing",
    )
    return parser.parse_args(argv)


@ending.one_line
def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    args.own_process = argv is None  # no caller's threads or devices are in it
    backend.quiet()
    inputs.quiet_transformers()
    network.allow(args.download)
    try:
        return run(args, *prepare(args))
    except (inputs.BadInput, backend.BackendError) as error:
        return cli.refuse(error)
    except (inputs.ModelFails, jobs.Undetermined) as error:
        return cli.undetermined(error)


def prepare(args: argparse.Namespace) -> tuple[jobs.Bringup, jobs.Prompt]:
    """The bring-up, and its tokens: the prompt and those after it. All arguments are checked.

    Of `args`, `max_seq_len` becomes a number, and `longest` the one for long sequences.
    """
    jobs.check_outputs(args)
    if args.reproduce is not None:
        check_reproduce(args)
    length = args.prompt_tokens or DEFAULT_PROMPT_LENGTH + args.decoded
    args.longest, asked = args.max_seq_len, args.max_seq_len
    if asked is None:
        checkpoint = inputs.find_checkpoint(args.model, args.cache_dir, args.download)
        most = inputs.positions(checkpoint.config()) or cli.POSITIONS
        args.max_seq_len, args.longest = min(cli.POSITIONS, most), min(LONGEST, most)
    bringup, prompt = jobs.prepare(args, length)
    prompt = jobs.Prompt(prompt.checkpoint, prompt.ids[:, : args.prompt_tokens])
    if prompt.length <= args.decoded:
        raise inputs.BadInput(
            f"a prompt of {prompt.length} tokens, of which {args.decoded} are given one at a time: "
            "it needs at least one more."
        )
    if asked is None and args.max_seq_len < prompt.length <= args.longest:
        args.max_seq_len = prompt.length
    before = prompt.length - args.decoded
    prompt_ids.check_length(before, args.decoded, args.max_seq_len, "--max_seq_len")
    return dataclasses.replace(bringup, max_seq_len=args.max_seq_len), prompt


def check_reproduce(args: argparse.Namespace) -> None:
    """Raises BadInput where --reproduce cannot write, or would have nothing to write."""
    folder = pathlib.Path(args.reproduce).absolute()
    if args.frugal:
        raise inputs.BadInput("--reproduce needs all values of a call, and --frugal reads one.")
    reason = output_paths.unwritable(folder.parent / (folder.name + "_"))
    if reason:
        raise inputs.BadInput(f"--reproduce: {reason}")
    if os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise inputs.BadInput(f"{args.reproduce!r} is there already, and is no empty folder.")


def run(args: argparse.Namespace, bringup: jobs.Bringup, prompt: jobs.Prompt) -> int:
    """Run what the arguments select and print it. Returns the exit status."""
    from ttnn_verify import drift
    from ttnn_verify.drift import progress, reproducer
    from ttnn_verify.drift.running import beside, job
    from ttnn_verify.report import bases

    captured = reproducer.Capture() if args.reproduce else None
    with beside.no_threads():
        hf_model = prompt.checkpoint.hf_model(torch.float32)
    hf_model.set_attn_implementation("eager")
    task = job.Task(args, bringup, hf_model, prompt.ids)
    work, report = _way(args)
    with task.beside() as farther, contextlib.closing(progress.Bar()) as bar:
        session = drift.Session(args.accurate, progress=bar, on_bad=captured)
        with task.begun(session, farther) as begun:
            chip = (
                f"{begun.device.arch().name}, {begun.device.compute_with_storage_grid_size()} cores"
            )
            found = work(begun)
    if basis := bases.of_run(bringup.backend, bringup.arithmetic):
        print(f"computed: {basis}")
    status = report(args, functools.partial(described_run, args, bringup, prompt), found)
    if captured is not None:
        blamed = captured if status else reproducer.Capture()
        print(reproduced(args, bringup, prompt, blamed, chip))
    return status


def _way(args: argparse.Namespace) -> "tuple[Callable[[Job], Any], Callable[..., int]]":
    """What a job does, and what prints and writes its result."""
    from ttnn_verify.drift.running.job import Job

    if args.frugal:
        return Job.halved, report_search
    return (Job.first, report_first) if args.first else (Job.whole, report_whole)


def report_search(
    args: argparse.Namespace, described: "Callable[[], DriftRun]", halved: "SearchResult"
) -> int:
    """Print what --frugal has found, and write the files. Returns the exit status."""
    from ttnn_verify.report.drift import drift_text

    print(halved.line)
    status = cli.SO if halved.step else cli.FINE
    return write(args, lambda: drift_text.record_of_search(described(), halved)) or status


def report_first(
    args: argparse.Namespace, described: "Callable[[], DriftRun]", bad: "OpFinding | None"
) -> int:
    """The same for --first."""
    from ttnn_verify.report.drift import drift_text

    verdict = f"first bad op: {bad.line}" if bad else "no drift"
    print(verdict)
    status = cli.SO if bad else cli.FINE
    return write(args, lambda: drift_text.record_of_first(described(), verdict, bad)) or status


def report_whole(
    args: argparse.Namespace,
    described: "Callable[[], DriftRun]",
    found: "tuple[DriftResult, Sequence[Share]]",
) -> int:
    """The same for the whole walk: the table, and what else was found."""
    from ttnn_verify.report.drift import drift_text

    drift, shares = found
    print(*drift_text.lines(drift), *drift_text.shares(shares), drift.line, sep="\n")
    return write(args, lambda: drift_text.record(described(), drift, shares)) or drift.status


def write(args: argparse.Namespace, make: "Callable[[], DriftRecord]") -> int:
    """Write what --json and --html ask for; the record is made if they ask for anything.

    Returns an exit status: that of a file that cannot be written, or FINE.
    """
    if not (args.json or args.html):
        return cli.FINE
    record = make()
    try:
        if args.json:
            atomic.write_text(args.json, record.to_json())
        if args.html:
            from ttnn_verify.report.drift import drift_page  # matplotlib is slow to import

            atomic.write_text(args.html, drift_page.render(record))
    except OSError as error:  # a disk that is full by now
        return cli.unwritten(error)
    return cli.FINE


def described_run(
    args: argparse.Namespace, bringup: jobs.Bringup, prompt: jobs.Prompt
) -> "DriftRun":
    """What ran, for the reports."""
    from ttnn_verify.report import bases, machine
    from ttnn_verify.report.drift import drift_text

    return drift_text.DriftRun(
        checkpoint=prompt.checkpoint.name,
        backend=bringup.described,
        tokens=prompt.length,
        decoded=args.decoded,
        model_file=args.model_py,
        prompt=jobs.prompt_text(prompt),
        made=machine.now(),
        versions=machine.versions(),
        basis=bases.of_run(bringup.backend, bringup.arithmetic),
    )


def reproduced(
    args: argparse.Namespace,
    bringup: jobs.Bringup,
    prompt: jobs.Prompt,
    captured: "Capture",
    chip: str,
) -> str:
    """Write what --reproduce asks for. Returns what became of it, in a line.

    Args:
        captured: has the first bad call, if there is one.
        chip: what the device is, in words.
    """
    from ttnn_verify.drift import reproducer
    from ttnn_verify.report import machine

    if captured.first is None:
        return "nothing to reproduce: no call is to blame."
    names = machine.versions()
    arithmetic = f" --arithmetic {bringup.arithmetic}" if bringup.arithmetic else ""
    setting = reproducer.Setting(
        command=f"python -m ttnn_verify.drift {pathlib.Path(args.model_py).name} --model "
        f"{pathlib.Path(prompt.checkpoint.name).name}{' --accurate' if args.accurate else ''}",
        versions=", ".join(f"{name} {names[name]}" for name in ("ttnn", "torch", "transformers")),
        device=f"{chip} ({bringup.described})",
        emulated=f"python -m ttnn_emulator{arithmetic}",
        system=bringup.system or backend.smallest_system(bringup.mesh),
    )
    try:
        written = reproducer.write(captured, pathlib.Path(args.reproduce), setting)
    except (reproducer.NotReproducible, OSError) as error:
        return f"no reproducer: {error}"
    return f"reproducer: {written}"


if __name__ == "__main__":
    status = main()
    if backend.pick() == "emulated":
        ending.leave(status)
    sys.exit(status)
