"""The trained checkpoint and its prompt, as the tests above the ops use them."""

import pathlib

ROOT = pathlib.Path(__file__).parents[2]
CHECKPOINT = ROOT / "assets/phi3-tiny"
PROMPT = ROOT / "assets/prompts/kjv-heldout.txt"
MODEL_FILE = ROOT / "models/microsoft/Phi-3-mini-128k-instruct/n150/functional/model.py"
CACHE_LENGTH = 256  # positions of the caches that models and their parts are built with
