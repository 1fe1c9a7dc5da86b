"""Say where a TTNN model first computes something else than Hugging Face's.

    python -m ttnn_verify.drift MODEL_PY --model HF_ID_OR_FOLDER [--prompt TEXT] [--json FILE] ...

The exit status is 0 for no drift, 1 for drift and 2 when it cannot be told, so that `git bisect run`
works on it.
"""

import json
import pathlib
import sys

import torch

from ttnn_verify import backend
from ttnn_verify.huggingface import inputs

DEFAULT_PROMPT_LENGTH = 33  # one row more than a tile
DEFAULT_DECODED = 3


def parse(argv):
    parser = inputs.CommandLine(
        prog="python -m ttnn_verify.drift", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    add = parser.add_argument
    add("model_py", metavar="MODEL_PY", help="Python file that defines build_model")
    add("--model", required=True, metavar="ID_OR_FOLDER", help="checkpoint: hub id or folder")
    prompt = parser.add_mutually_exclusive_group()
    prompt.add_argument("--prompt", metavar="TEXT", help="default: 33 tokens of held-out text")
    prompt.add_argument("--prompt_file", metavar="FILE", help="UTF-8 text")
    add(
        "--prompt_tokens",
        type=inputs.positive,
        metavar="N",
        help="use so many tokens of the prompt at most",
    )
    add(
        "--decoded",
        type=inputs.positive,
        default=DEFAULT_DECODED,
        metavar="N",
        help=f"the last tokens, given one at a time, default {DEFAULT_DECODED}",
    )
    add("--max_seq_len", type=inputs.positive, default=256, metavar="N", help="default 256")
    add(
        "--accurate",
        action="store_true",
        help="judge products and norms by the most accurate arithmetic, whatever they are called with",
    )
    quick = parser.add_mutually_exclusive_group()
    quick.add_argument(
        "--first", action="store_true", help="end with the first bad operation, no table"
    )
    quick.add_argument(
        "--frugal",
        action="store_true",
        help="halve over layers, then over operations, reading one value per run of the model: for a "
        "slow device; it sees what is plainly wrong",
    )
    add(
        "--attribution", action="store_true", help="add each op family's share of the logits' error"
    )
    add("--json", metavar="FILE", help="write the result there, too")
    add("--html", metavar="FILE", help="write a page with the table and a picture there")
    add("--backend", choices=backend.BACKENDS, help="default: the first of these that is there")
    add("--arithmetic", choices=backend.ARITHMETICS, help="of the emulated device")
    add("--device_id", type=int, default=0, metavar="N", help="default 0")
    add("--cache_dir", metavar="FOLDER", help="Hugging Face cache")
    return parser.parse_args(argv)


def main(argv=None):
    args = parse(argv)
    backend.quiet()
    inputs.quiet_transformers()
    from ttnn_verify.drift import DriftUndetermined  # ttnn, which it imports, is slow

    try:
        return run(args)
    except (inputs.BadInput, backend.BackendError) as error:
        return inputs.report_bad_input(error)
    except DriftUndetermined as error:
        print("could not tell:", error, file=sys.stderr)
        return 2


def run(args):
    from ttnn_verify.drift import attribute, halve, locate, measure
    from ttnn_verify.report import drift_page, drift_text

    picked = backend.pick(args.backend)
    backend.check_arithmetic(picked, args.arithmetic)
    for file in filter(None, (args.json, args.html)):
        if not pathlib.Path(file).absolute().parent.is_dir():
            raise inputs.BadInput(f"{file!r}: there is no such folder to write to.")
    model_file = inputs.load_model_file(args.model_py)
    checkpoint = inputs.find_checkpoint(args.model, args.cache_dir)
    config = inputs.check_config(checkpoint, model_file)
    inputs.check_positions(args.max_seq_len, config)
    ids = read_prompt(args, checkpoint)
    inputs.check_prompt(ids, config.vocab_size)
    if ids.shape[1] <= args.decoded:
        raise inputs.BadInput(
            f"a prompt of {ids.shape[1]} tokens, of which {args.decoded} are given one at a time: "
            "it needs at least one more."
        )
    inputs.check_length(
        ids.shape[1] - args.decoded, args.decoded, args.max_seq_len, "--max_seq_len"
    )
    hf_model = checkpoint.hf_model(torch.float32)
    hf_model.set_attn_implementation("eager")
    with backend.open_device(picked, args.device_id, args.arithmetic) as device:
        try:
            model = model_file.build_model(hf_model, device, args.max_seq_len)
        except ValueError as error:
            raise inputs.BadInput(str(error)) from error
        if args.first:
            found = locate(model, hf_model, ids, args.decoded, args.accurate)
            print(f"first bad op: {found.line}" if found else "no drift")
            return 1 if found else 0
        if args.frugal:
            found = halve(model, hf_model, ids, args.decoded)
            print(found.line)
            return 1 if found.step else 0
        drift = measure(model, hf_model, ids, args.decoded, args.accurate)
        shares = attribute(model, hf_model, ids, args.decoded) if args.attribution else ()
    for line in drift_text.lines(drift):
        print(line)
    for line in drift_text.shares(shares):
        print(line)
    print(drift.line)
    about = {
        "checkpoint": checkpoint.name,
        "backend": backend.described(picked, args.arithmetic),
        "tokens": ids.shape[1],
        "decoded": args.decoded,
    }
    record = drift_text.record(drift, shares, **about)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(record, indent=1) + "\n")
    if args.html:
        pathlib.Path(args.html).write_text(drift_page.html(record))
    return drift.status


def read_prompt(args, checkpoint):
    """The tokens `[1, S]`, prompt and those after it."""
    tokenizer = checkpoint.tokenizer()
    if args.prompt is None and args.prompt_file is None:
        length = args.prompt_tokens or DEFAULT_PROMPT_LENGTH + args.decoded
        return inputs.encode_to_length(inputs.heldout_text(), tokenizer, length)
    words = args.prompt if args.prompt_file is None else inputs.read_text(args.prompt_file)
    return inputs.encode(words, tokenizer)[:, : args.prompt_tokens]


if __name__ == "__main__":
    sys.exit(main())
