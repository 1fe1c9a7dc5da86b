"""The trained checkpoint and its prompt, as the tests above the ops use them."""

import pathlib

ROOT = pathlib.Path(__file__).parents[2]
CHECKPOINT = ROOT / "assets/phi3-tiny"
PROMPT = ROOT / "ttnn_verify/prompts/kjv-heldout.txt"
STAGES = ("functional", "optimized")  # of the bring-up
CACHE_LENGTH = 256  # positions of the caches that models and their parts are built with


def model_file(stage: str) -> pathlib.Path:
    """The bring-up's file of one of `STAGES`."""
    return ROOT / f"models/microsoft/Phi-3-mini-128k-instruct/n150/{stage}/model.py"
