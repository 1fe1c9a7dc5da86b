"""Write a checkpoint of Phi-3-mini's full size with random weights: 7.7 GB of safetensors.

python -m benchmarks.full_size_checkpoint FOLDER [--layers 32]

A folder as `microsoft/Phi-3-mini-128k-instruct` has it, a file for each layer, with the tokenizer
of assets/phi3-tiny, whose ids are within the vocabulary. One layer is in memory at a time. The
folder appears whole or not at all.
"""

import argparse
import errno
import json
import os
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Sequence

import safetensors
import safetensors.torch
import torch
from tqdm import tqdm
from transformers import GenerationConfig, Phi3Config

from benchmarks import phi3_mini
from ttnn_verify import cli, ending
from ttnn_verify.files import atomic
from ttnn_verify.huggingface.inputs import BadInput

TINY = pathlib.Path(__file__).resolve().parents[1] / "assets" / "phi3-tiny"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
SPECIAL = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3}  # of that tokenizer
INDEX = "model.safetensors.index.json"
ITEM = torch.bfloat16.itemsize
FORMAT = {"format": "pt"}  # transformers asks for it
SPARE = 10**8  # bytes of disk beside the weights


def config(layers: int) -> Phi3Config:
    """The configuration, with the special ids of the tokenizer."""
    result = phi3_mini.config(layers)
    result.architectures = ["Phi3ForCausalLM"]
    for name, token in SPECIAL.items():
        setattr(result, name, token)
    return result


def shards(weights: phi3_mini.RandomWeights) -> dict[str, list[str]]:
    """File -> names of its tensors: a file for each layer, one each for both ends."""
    groups: dict[str, list[str]] = {}
    for name in weights:
        layer = name.removeprefix("model.layers.").split(".")[0]
        groups.setdefault(layer if layer.isdigit() else name, []).append(name)
    count = len(groups)
    return {
        f"model-{number:05}-of-{count:05}.safetensors": names
        for number, names in enumerate(groups.values(), 1)
    }


def check(folder: pathlib.Path, size: int) -> None:
    """Raises BadInput where a folder of so many bytes cannot be made."""
    if os.path.lexists(folder):
        raise BadInput(f"{str(folder)!r} is there already; name a folder that is to be made.")
    if not folder.parent.is_dir():
        raise BadInput(f"{str(folder)!r}: there is no such folder to make it in.")
    free = shutil.disk_usage(folder.parent).free
    if free < size + SPARE:
        raise BadInput(
            f"{str(folder)!r}: {(size + SPARE) / 1e9:.1f} GB are needed, and {free / 1e9:.1f} GB "
            "are free."
        )


def write(folder: pathlib.Path, layers: int) -> None:
    """Write the checkpoint. Raises BadInput, and OSError where writing fails after all."""
    hf_config = config(layers)
    weights = phi3_mini.RandomWeights(hf_config)
    size = ITEM * weights.count
    check(folder, size)
    try:
        partial = pathlib.Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise BadInput(f"{str(folder)!r} cannot be made: {error.strerror}.") from error
    try:
        _fill(partial, hf_config, weights, size)
        partial.chmod(0o755)  # mkdtemp's own lets nobody else read
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _fill(
    folder: pathlib.Path, hf_config: Phi3Config, weights: phi3_mini.RandomWeights, size: int
) -> None:
    hf_config.save_pretrained(folder)
    GenerationConfig(**SPECIAL).save_pretrained(folder)
    for name in TOKENIZER:
        shutil.copyfile(TINY / name, folder / name)
    files = shards(weights)
    for file, names in tqdm(files.items(), "Writing", unit="file", disable=None, leave=False):
        _write_shard(folder / file, {name: weights[name] for name in names})
    index = {
        "metadata": {"total_size": size},
        "weight_map": {name: file for file, names in files.items() for name in names},
    }
    atomic.write_text(folder / INDEX, json.dumps(index, indent=2))


def _write_shard(path: pathlib.Path, tensors: dict[str, torch.Tensor]) -> None:
    try:
        atomic.write(path, lambda file: safetensors.torch.save_file(tensors, file, FORMAT))
    except safetensors.SafetensorError as error:  # as it says that a disk is full
        raise OSError(errno.EIO, str(error), str(path)) from error
    path.chmod(0o644)  # safetensors lets nobody else read


@ending.one_line
def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.CommandLine("full_size_checkpoint", __doc__.splitlines()[0])
    parser.add_argument("folder", metavar="FOLDER", type=pathlib.Path, help="it is made")
    cli.add_count(parser.add_argument, "--layers", phi3_mini.N_LAYERS)
    args: argparse.Namespace = parser.parse_args(argv)
    try:
        write(args.folder, args.layers)
    except BadInput as error:
        return cli.refuse(error)
    except OSError as error:  # a disk that is full by now
        return cli.unwritten(error)
    return cli.FINE


if __name__ == "__main__":
    sys.exit(main())
