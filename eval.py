"""Score a TTNN model against Hugging Face, token by token: teacher forcing from a prompt.

    python eval.py MODEL_PY --model HF_ID_OR_FOLDER [--prompt TEXT] [--max_new_tokens 100] ...

MODEL_PY is a file with `build_model(hf_model, tt_device, max_seq_len)`, which returns a model that
is called as Hugging Face models are. The exit status is 0 when the model was scored, 1 when its
logits are not finite, 2 when something on the command line cannot be used.
"""

import dataclasses
import sys
import types

import torch
import tqdm

from ttnn_verify import backend
from ttnn_verify.huggingface import accuracy, inputs, module_floors
from ttnn_verify.numerics import tolerance

DEFAULT_PROMPT_LENGTH = 128
MOST_DIFFERENCES = 5  # that are shown one by one


def parse(argv):
    parser = inputs.CommandLine(
        prog="eval.py", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    add = parser.add_argument
    add("model_py", metavar="MODEL_PY", help="Python file that defines build_model")
    add("--model", required=True, metavar="ID_OR_FOLDER", help="checkpoint: hub id or folder")
    prompt = parser.add_mutually_exclusive_group()
    prompt.add_argument("--prompt", metavar="TEXT", help="default: 128 tokens of held-out text")
    prompt.add_argument("--prompt_file", metavar="FILE", help="UTF-8 text")
    prompt.add_argument("--prompt_ids_file", metavar="FILE", help="token ids")
    add("--max_new_tokens", type=inputs.positive, default=100, metavar="N", help="default 100")
    add(
        "--min_new_tokens",
        type=inputs.positive,
        metavar="N",
        help="no end of text before so many; default: as --max_new_tokens",
    )
    add(
        "--max_seq_len",
        type=inputs.positive,
        default=256,
        metavar="N",
        help="positions the model is built for, default 256",
    )
    add("--prefill_decode", action="store_true", help="feed the prompt token by token, by decode")
    add(
        "--reference_dtype",
        choices=inputs.DTYPES,
        default="auto",
        help="Hugging Face's arithmetic; auto, the default, is the checkpoint's own",
    )
    add("--backend", choices=backend.BACKENDS, help="default: the first of these that is there")
    add(
        "--arithmetic",
        choices=backend.ARITHMETICS,
        help="how the emulated device computes: as the kernels do, the default, or in float32 and "
        "rounded once",
    )
    add("--device_id", type=int, default=0, metavar="N", help="default 0")
    add("--seed", type=int, default=0, metavar="N", help="of torch's random numbers, default 0")
    add("--cache_dir", metavar="FOLDER", help="Hugging Face cache")
    args = parser.parse_args(argv)
    if args.min_new_tokens is None:
        args.min_new_tokens = args.max_new_tokens
    if args.min_new_tokens > args.max_new_tokens:
        parser.error(
            f"--min_new_tokens {args.min_new_tokens} is more than --max_new_tokens "
            f"{args.max_new_tokens}."
        )
    return args


@dataclasses.dataclass(frozen=True)
class Job:
    """What is to be evaluated. Nothing large is loaded yet."""

    backend: str
    arithmetic: str | None
    device_id: int
    model_file: types.ModuleType
    checkpoint: inputs.HubCheckpoint
    prompt_ids: torch.Tensor  # [1, S]
    new_tokens: int
    min_new_tokens: int
    max_seq_len: int
    prefill_decode: bool = False
    reference_dtype: str = "auto"


def prepare(args):
    """The job that the arguments ask for, all of it checked. Raises BadInput or BackendError."""
    picked = backend.pick(args.backend)
    backend.check_arithmetic(picked, args.arithmetic)
    model_file = inputs.load_model_file(args.model_py)
    checkpoint = inputs.find_checkpoint(args.model, args.cache_dir)
    config = inputs.check_config(checkpoint, model_file)
    inputs.check_positions(args.max_seq_len, config)
    prompt_ids = read_prompt(args, checkpoint)
    inputs.check_prompt(prompt_ids, config.vocab_size)
    inputs.check_length(prompt_ids.shape[1], args.max_new_tokens, args.max_seq_len, "--max_seq_len")
    return Job(
        backend=picked,
        arithmetic=args.arithmetic,
        device_id=args.device_id,
        model_file=model_file,
        checkpoint=checkpoint,
        prompt_ids=prompt_ids,
        new_tokens=args.max_new_tokens,
        min_new_tokens=args.min_new_tokens,
        max_seq_len=args.max_seq_len,
        prefill_decode=args.prefill_decode,
        reference_dtype=args.reference_dtype,
    )


def read_prompt(args, checkpoint):
    """The prompt's token ids, `[1, S]`."""
    if args.prompt_ids_file is not None:
        return inputs.read_ids(args.prompt_ids_file)
    if args.prompt_file is not None:
        return inputs.encode(inputs.read_text(args.prompt_file), checkpoint.tokenizer())
    if args.prompt is not None:
        return inputs.encode(args.prompt, checkpoint.tokenizer())
    return inputs.encode_to_length(
        inputs.heldout_text(), checkpoint.tokenizer(), DEFAULT_PROMPT_LENGTH
    )


def run(job):
    """Build the TTNN model, let Hugging Face write, lead the model along: an accuracy.Score."""
    hf_model = job.checkpoint.hf_model(inputs.DTYPES[job.reference_dtype])
    with backend.open_device(job.backend, job.device_id, job.arithmetic) as device:
        model = build(job, hf_model, device)
        reference = write_reference(job, hf_model)
        del hf_model  # the host need not hold its weights any longer
        with progress("TTNN", job.prompt_ids.shape[1] + len(reference.tokens) - 1) as bar:
            return accuracy.score(model, reference, job.prefill_decode, bar.update)


def build(job, hf_model, device):
    """The model file's model on the device. Raises BadInput for what it refuses."""
    try:
        model = job.model_file.build_model(hf_model, device, job.max_seq_len)
    except ValueError as error:
        raise inputs.BadInput(str(error)) from error
    cache = getattr(model, "max_length", job.max_seq_len)
    inputs.check_length(job.prompt_ids.shape[1], job.new_tokens, cache, "the model's cache")
    return model


def write_reference(job, hf_model):
    """What Hugging Face writes: an accuracy.Reference."""
    with progress("Hugging Face", job.new_tokens) as bar:
        return accuracy.reference(
            hf_model, job.prompt_ids, job.new_tokens, job.min_new_tokens, bar.update
        )


def progress(name, tokens):
    """A bar on stderr, counting tokens; none when stderr is not a terminal."""
    return tqdm.tqdm(desc=f"{name:12}", total=tokens, unit="tok", disable=None, leave=False)


def report(job, score):
    """The result as lines of text."""
    reference, prompt_len = score.reference, job.prompt_ids.shape[1]
    way = ", token by token" if job.prefill_decode else ""
    lines = [
        f"Checkpoint:     {job.checkpoint.name}",
        f"Backend:        {backend.described(job.backend, job.arithmetic)}",
        f"Tokens:         {prompt_len} of prompt{way}, then {len(reference.tokens)}",
        f"Top-1 accuracy: {score.top1:.2%} ({score.top1:.4f})",
        f"Top-5 accuracy: {score.top5:.2%} ({score.top5:.4f})",
        f"95 % intervals: top-1 {interval(score.top1, score)}, top-5 {interval(score.top5, score)}",
        f"In HF's top-5:  {score.reference_top5:.2%}; beyond its first {accuracy.PLAUSIBLE}: "
        + f"{len(score.implausible)} tokens",
    ]
    if score.nonfinite:
        lines += [f"Logits:         not finite, {score.nonfinite}"]
    else:
        pcc, kl = score.pcc_steps, score.kl_steps
        lines += [
            f"Logits PCC:     {score.pcc:.6f} (least {pcc.min():.6f}, step {int(pcc.argmin())})",
            f"Logits KL:      {kl.mean():.6f} nats (most {kl.max():.6f}, step {int(kl.argmax())})",
            f"Perplexity:     {score.perplexity:.4f}, Hugging Face's {reference.perplexity:.4f}",
        ]
        lines += differences(job, score)
    return [
        *lines,
        *evidence(job),
        "Tokens/s:           prefill      decode",
        f"  Hugging Face {reference.prefill_rate:12.1f}{reference.decode_rate:12.1f}",
        f"  TTNN         {score.prefill_rate:12.1f}{score.decode_rate:12.1f}",
    ]


def evidence(job):
    """What the emulated device's results rest on, by operation and setting; lines of text."""
    if job.backend != "emulated" or job.arithmetic == "rounded":
        return []
    import ttnn_emulator  # here, as in ttnn_verify.backend

    return evidence_lines(ttnn_emulator.found_evidence())


def evidence_lines(found):
    """A line of counts, and one for each operation and setting that no recording covers.

    Args:
        found: `ttnn_emulator.evidence.Evidence`s; of none there are no lines.
    """
    if not found:
        return []
    by_status = {status: [] for status in ("recorded", "derived", "approximate")}
    for one in found:
        by_status[one.status].append(one)
    counts = [
        f"{_counted({one.operation for one in those}, 'operation')} {status}, "
        f"in {_counted(those, 'setting')}"
        for status, those in by_status.items()
        if those
    ]
    lines = [f"Evidence:       {'; '.join(counts)}"]
    for status in ("derived", "approximate"):
        for one in by_status[status]:
            missed = f", {len(one.unequal)} recordings not equalled" if one.unequal else ""
            lines.append(f"  {status:14}{one}{missed}")
    return lines


def _counted(things, word):
    return f"{len(things)} {word}{'' if len(things) == 1 else 's'}"


def differences(job, score):
    """A line for each of the first few steps of another choice: of no consequence, or a defect."""
    steps = score.disagreements
    if not steps:
        return []
    allowed = allowed_error(job, score.reference)
    defects = [] if allowed is None else score.defects(allowed)

    def verdict(step):
        if allowed is None:
            return "not judged: the noise floor of this architecture is not known"
        return "a defect" if step in defects else "a near-tie"

    lines = [f"Differs in      {step} ({verdict(step)})" for step in steps[:MOST_DIFFERENCES]]
    if len(steps) > MOST_DIFFERENCES:
        judged = "" if allowed is None else f", {len(defects)} of them defects"
        lines.append(f"                {len(steps)} steps in all{judged}")
    return lines


def allowed_error(job, reference):
    """Relative L2 error of the logits that rounding explains; None if that is not known.

    It is measured, in two passes of Hugging Face's model over the text (see `module_floors`).
    """
    hf_model = job.checkpoint.hf_model(inputs.DTYPES[job.reference_dtype])
    floor = module_floors.of_reference(hf_model, reference)
    return None if floor is None else tolerance.K * floor.relative_l2


def interval(share, score):
    low, high = accuracy.wilson(share, len(score.logits))
    return f"{low:.1%} to {high:.1%}"


def main(argv=None):
    args = parse(argv)
    backend.quiet()
    inputs.quiet_transformers()
    torch.manual_seed(args.seed)
    try:
        job = prepare(args)
        score = run(job)
    except (inputs.BadInput, backend.BackendError) as error:
        return inputs.report_bad_input(error)
    print("\n".join(report(job, score)))
    return 1 if score.nonfinite else 0


if __name__ == "__main__":
    sys.exit(main())
