"""Score a bring-up under models/ against Hugging Face and print one line of metrics.

    python scripts/run_eval.py --mode tt --hf-model microsoft/Phi-3-mini-128k-instruct

The model file is models/<org>/<model>/<system>/<stage>/model.py by the hub id; a Phi-3 that has no
folder there runs on the Phi-3 bring-up of that stage. Mode hf scores Hugging Face's model against
itself, which shows what the measure gives for a perfect one. stdout has one line, YT_METRICS={...};
all else goes to stderr. The exit status is as eval.py's without bounds of one's own.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Sequence

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ttnn_verify import ending

if __name__ == "__main__":
    ending.at_once()

import torch

from ttnn_verify import backend, cli, evaluation, jobs, network, prompt_ids, sentences
from ttnn_verify.huggingface import accuracy, inputs
from ttnn_verify.model_file import is_file
from ttnn_verify.report import score_text

STAGES = ("functional", "optimized")  # of a bring-up
SYSTEM = next(iter(backend.SYSTEMS))  # by default
PHI3 = "microsoft/Phi-3-mini-128k-instruct"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.CommandLine("run_eval.py", __doc__.splitlines()[0])
    add = parser.add_argument
    add("--mode", required=True, choices=("hf", "tt"), help="whose model is scored")
    add(
        *cli.spellings("--hf-model"),
        required=True,
        metavar="ID",
        help="hub id, names the model's folder too",
    )
    add(
        *cli.spellings("--model-path"),
        metavar="FOLDER",
        help="checkpoint folder, instead of the hub's",
    )
    add("--stage", default=STAGES[0], choices=STAGES, help=f"of the bring-up, default {STAGES[0]}")
    cli.add_count(add, "--prefill-len", 128)
    cli.add_count(add, "--decode-len", 100)
    cli.add_max_seq_len(add)
    add("--batch", type=cli.whole, default=1, metavar="N", help="only 1 is supported")
    add("--trace", type=cli.whole, default=0, metavar="N", help="only 0 is supported")
    add(
        *cli.spellings("--prefill-decode"),
        action="store_true",
        help="feed the prompt by decode, token by token",
    )
    cli.add_backend(add)
    cli.add_cache(add)
    # the prompt is held-out text
    parser.set_defaults(device_id=0, prompt=None, prompt_file=None, prompt_ids_file=None)
    args = parser.parse_args(argv)
    if args.batch != 1:
        parser.error(f"--batch {args.batch}: only 1 is supported.")
    if args.trace != 0:
        parser.error(f"--trace {args.trace}: only 0 is supported.")
    return args


def find_model_file(hf_model: str, system: str, stage: str, model_type: str | None) -> str:
    """Path in the repository of the bring-up: by the hub id, else the Phi-3 one for a Phi-3.

    Raises:
        BadInput: neither is there.
    """
    own, phi3 = model_file(hf_model, system, stage), model_file(PHI3, system, stage)
    if is_file(ROOT / own):
        return own
    if model_type == "phi3" and is_file(ROOT / phi3):
        return phi3
    bringups = ROOT.glob(model_file("*/*", "*", "*"))
    there = ", ".join(sorted(str(path.relative_to(ROOT)) for path in bringups))
    raise inputs.BadInput(f"no model file {sentences.shown(own, 200)}; there is {there}.")


def model_file(hf_model: str, system: str, stage: str) -> str:
    return f"models/{hf_model}/{system}/{stage}/model.py"


def prepare(args: argparse.Namespace) -> tuple[evaluation.Plan, jobs.Bringup | None]:
    """The bring-up (none in mode hf) and the prompt that the arguments name, checked.

    Raises BadInput or BackendError.
    """
    name = args.model_path or args.hf_model
    checkpoint = inputs.find_checkpoint(name, args.cache_dir, args.download)
    bringup = None
    if args.mode == "tt":
        model_type = checkpoint.config_dict().get("model_type")
        path = find_model_file(args.hf_model, args.system or SYSTEM, args.stage, model_type)
        bringup = jobs.find_bringup(args, str(ROOT / path))
        print(f"{path} on {bringup.described}", file=sys.stderr)
    prompt = jobs.find_prompt(args, checkpoint, args.prefill_len, bringup and bringup.model_file)
    prompt_ids.check_length(args.prefill_len, args.decode_len, args.max_seq_len, "--max-seq-len")
    plan = evaluation.Plan(prompt, args.decode_len, args.decode_len, args.prefill_decode)
    return plan, bringup


def metrics(args: argparse.Namespace, score: accuracy.Score) -> str:
    """The YT_METRICS line, which other programs parse."""
    figures = {
        "mode": args.mode,
        "trace": args.trace,
        "top1": score.top1,
        "top5": score.top5,
        "prefill_len": args.prefill_len,
        "decode_len": args.decode_len,
        "batch": args.batch,
        "total": len(score.logits),  # steps that were scored
    }
    return "YT_METRICS=" + json.dumps(figures, separators=(",", ":"))


@ending.one_line
def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    backend.quiet()
    inputs.quiet_transformers()
    network.allow(args.download)
    torch.manual_seed(0)
    try:
        plan, bringup = prepare(args)
        result = evaluation.run(plan, bringup) if bringup else evaluation.run_hf(plan)
    except (inputs.BadInput, backend.BackendError) as error:
        return cli.refuse(error)
    except (inputs.ModelFails, jobs.Undetermined) as error:
        return cli.undetermined(error)
    print(metrics(args, result.worst.score))
    if bringup:
        print(
            *score_text.computed(bringup), *score_text.evidence(bringup), sep="\n", file=sys.stderr
        )
    return cli.judged(result.failures)


if __name__ == "__main__":
    sys.exit(main())
