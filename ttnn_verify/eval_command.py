"""Score a TTNN model against Hugging Face, token by token: teacher forcing from a prompt.

    python eval.py MODEL_PY --model HF_ID_OR_FOLDER [--prompt TEXT] [--max_new_tokens 100] ...

MODEL_PY is a file with `build_model(hf_model, tt_device, max_seq_len)`, which returns a model that
is called as Hugging Face models are. The exit status is 0 when the score is as good as Hugging
Face's own pass in bfloat16 explains, or as --min_top1, --min_top5, --min_pcc and --max_kl ask for;
1 when it is not, with a line for each bound that is missed; 2 when something on the command line
cannot be used; 125 when the model file or its model fails, and nothing can be told.
"""

import argparse
import sys
from collections.abc import Sequence

from ttnn_verify import backend

backend.spare_cores()  # before torch

with backend.imports():
    import torch

    from ttnn_verify import cli, ending, evaluation, jobs, network, prompt_ids
    from ttnn_verify.huggingface import inputs
    from ttnn_verify.report import score_text

DEFAULT_PROMPT_LENGTH = 128


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.CommandLine("ttnn-eval", __doc__.splitlines()[0])
    add = parser.add_argument
    cli.add_model_file(parser)
    cli.add_prompt(parser, f"{DEFAULT_PROMPT_LENGTH} tokens of held-out text")
    cli.add_count(add, "--max_new_tokens", 100)
    cli.add_count(
        add,
        "--min_new_tokens",
        say="no end of text before so many; default: as --max_new_tokens",
    )
    cli.add_max_seq_len(add)
    cli.add_count(add, "--batch", 1, "rows with different prompts: others of held-out text")
    cli.add_bounds(add)
    add(
        *cli.spellings("--prefill_decode"),
        action="store_true",
        help="feed the prompt token by token, by decode",
    )
    add(
        *cli.spellings("--reference_dtype"),
        choices=inputs.DTYPES,
        default="auto",
        help="Hugging Face's arithmetic; auto, the default, is the checkpoint's own",
    )
    cli.add_backend(add)
    cli.add_device_id(add)
    cli.add_seed(add)
    cli.add_cache(add)
    args = parser.parse_args(argv)
    if args.min_new_tokens is None:
        args.min_new_tokens = args.max_new_tokens
    if args.min_new_tokens > args.max_new_tokens:
        parser.error(
            f"--min_new_tokens {args.min_new_tokens} is more than --max_new_tokens "
            f"{args.max_new_tokens}."
        )
    return args


def prepare(args: argparse.Namespace) -> tuple[evaluation.Plan, jobs.Bringup]:
    """What the arguments name, checked before anything large loads.

    Raises BadInput or BackendError.
    """
    bringup, prompt = jobs.prepare(args, DEFAULT_PROMPT_LENGTH, args.batch)
    prompt_ids.check_length(prompt.length, args.max_new_tokens, args.max_seq_len, "--max_seq_len")
    plan = evaluation.Plan(
        prompt=prompt,
        new_tokens=args.max_new_tokens,
        min_new_tokens=args.min_new_tokens,
        prefill_decode=args.prefill_decode,
        reference_dtype=args.reference_dtype,
        bounds=cli.bounds(args),
    )
    return plan, bringup


@ending.one_line
def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    backend.quiet()
    inputs.quiet_transformers()
    network.allow(args.download)
    torch.manual_seed(args.seed)
    try:
        plan, bringup = prepare(args)
        result = evaluation.run(plan, bringup)
    except (inputs.BadInput, backend.BackendError) as error:
        return cli.refuse(error)
    except (inputs.ModelFails, jobs.Undetermined) as error:
        return cli.undetermined(error)
    print("\n".join(score_text.lines(plan, bringup, result)))
    return cli.judged(result.failures)


if __name__ == "__main__":
    sys.exit(main())
