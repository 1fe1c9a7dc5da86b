"""Score a bring-up under models/ against Hugging Face and print one line of metrics.

    python scripts/run_eval.py --mode tt --hf-model microsoft/Phi-3-mini-128k-instruct

The model file is models/<org>/<model>/<system>/functional/model.py by the hub id; a Phi-3 that has
no folder there runs on the Phi-3 bring-up. Mode hf scores Hugging Face's model against itself,
which shows what the measure gives for a perfect one. stdout has one line, YT_METRICS={...}; all
else goes to stderr. The exit status is as eval.py's.
"""

import json
import pathlib
import sys

import torch

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import eval as evaluation
from ttnn_verify import backend
from ttnn_verify.huggingface import accuracy, inputs

PHI3 = "microsoft/Phi-3-mini-128k-instruct"


def parse(argv):
    parser = inputs.CommandLine(
        prog="run_eval.py", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    add = parser.add_argument
    add("--mode", required=True, choices=("hf", "tt"), help="whose model is scored")
    add("--hf-model", required=True, metavar="ID", help="hub id, names the model's folder too")
    add("--model-path", metavar="FOLDER", help="checkpoint folder, instead of the hub's")
    add("--system", default="n150", metavar="NAME", help="default n150")
    add("--prefill-len", type=inputs.positive, default=128, metavar="N", help="default 128")
    add("--decode-len", type=inputs.positive, default=100, metavar="N", help="default 100")
    add("--max-seq-len", type=inputs.positive, default=256, metavar="N", help="default 256")
    add("--batch", type=int, default=1, metavar="N", help="only 1 is supported")
    add("--trace", type=int, default=0, metavar="N", help="only 0 is supported")
    add("--prefill-decode", action="store_true", help="feed the prompt by decode, token by token")
    add("--backend", choices=backend.BACKENDS, help="default: the first of these that is there")
    add("--arithmetic", choices=backend.ARITHMETICS, help="of the emulated device; default kernel")
    add("--cache-dir", metavar="FOLDER", help="Hugging Face cache")
    args = parser.parse_args(argv)
    if args.batch != 1:
        parser.error(f"--batch {args.batch}: only 1 is supported.")
    if args.trace != 0:
        parser.error(f"--trace {args.trace}: only 0 is supported.")
    return args


def find_model_file(hf_model, system, model_type):
    """Path in the repository of the bring-up: by the hub id, else the Phi-3 one for a Phi-3.

    Raises:
        BadInput: neither is there.
    """
    own, phi3 = model_file(hf_model, system), model_file(PHI3, system)
    if (ROOT / own).is_file():
        return own
    if model_type == "phi3" and (ROOT / phi3).is_file():
        return phi3
    there = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob(model_file("*/*", "*")))
    raise inputs.BadInput(f"no model file {own!r}; there is {', '.join(there)}.")


def model_file(hf_model, system):
    return f"models/{hf_model}/{system}/functional/model.py"


def prepare(args):
    """The job that the arguments ask for, all of it checked. Raises BadInput or BackendError."""
    checkpoint = inputs.find_checkpoint(args.model_path or args.hf_model, args.cache_dir)
    module, picked = None, None
    if args.mode == "tt":
        picked = backend.pick(args.backend)
        backend.check_arithmetic(picked, args.arithmetic)
        model_type = checkpoint.config_dict().get("model_type")
        path = find_model_file(args.hf_model, args.system, model_type)
        module = inputs.load_model_file(ROOT / path)
        print(f"{path} on {backend.described(picked, args.arithmetic)}", file=sys.stderr)
    config = inputs.check_config(checkpoint, module)
    inputs.check_positions(args.max_seq_len, config)
    inputs.check_length(args.prefill_len, args.decode_len, args.max_seq_len, "--max-seq-len")
    prompt_ids = inputs.encode_to_length(
        inputs.heldout_text(), checkpoint.tokenizer(), args.prefill_len
    )
    inputs.check_prompt(prompt_ids, config.vocab_size)
    return evaluation.Job(
        backend=picked,
        arithmetic=args.arithmetic,
        device_id=0,
        model_file=module,
        checkpoint=checkpoint,
        prompt_ids=prompt_ids,
        new_tokens=args.decode_len,
        min_new_tokens=args.decode_len,
        max_seq_len=args.max_seq_len,
        prefill_decode=args.prefill_decode,
    )


def run_hf(job):
    """Hugging Face's model led along its own continuation: an accuracy.Score."""
    hf_model = job.checkpoint.hf_model()
    reference = evaluation.write_reference(job, hf_model)
    with evaluation.progress("Again", job.prompt_ids.shape[1] + job.new_tokens - 1) as bar:
        return accuracy.score(hf_model, reference, job.prefill_decode, bar.update)


def main(argv=None):
    args = parse(argv)
    backend.quiet()
    inputs.quiet_transformers()
    torch.manual_seed(0)
    try:
        job = prepare(args)
        score = evaluation.run(job) if args.mode == "tt" else run_hf(job)
    except (inputs.BadInput, backend.BackendError) as error:
        return inputs.report_bad_input(error)
    metrics = {
        "mode": args.mode,
        "trace": args.trace,
        "top1": score.top1,
        "top5": score.top5,
        "prefill_len": args.prefill_len,
        "decode_len": args.decode_len,
        "batch": args.batch,
        "total": len(score.logits),  # steps that were scored
    }
    print("YT_METRICS=" + json.dumps(metrics, separators=(",", ":")))
    if args.mode == "tt":
        print(*evaluation.evidence(job), sep="\n", file=sys.stderr)
    if score.nonfinite:
        print(f"logits are not finite: {score.nonfinite}", file=sys.stderr)
    return 1 if score.nonfinite else 0


if __name__ == "__main__":
    sys.exit(main())
