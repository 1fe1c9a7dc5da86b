"""The trained checkpoint, its prompt and what Hugging Face computes from them, for all tiers."""

import pathlib

import pytest
import torch
import transformers

ASSETS = pathlib.Path(__file__).parent.parent / "assets"
CHECKPOINT = ASSETS / "phi3-tiny"
PROMPT = ASSETS / "prompts" / "kjv-heldout.txt"


@pytest.fixture(scope="session")
def hf_model():
    """The checkpoint as Hugging Face runs it, in float32: the golden of every tier above the ops."""
    return transformers.AutoModelForCausalLM.from_pretrained(
        CHECKPOINT, dtype=torch.float32, attn_implementation="eager"
    ).eval()


@pytest.fixture(scope="session")
def tokenizer():
    return transformers.AutoTokenizer.from_pretrained(CHECKPOINT)


@pytest.fixture(scope="session")
def prompt_ids(tokenizer):
    """[1, S] int64: held-out text, at least 150 tokens."""
    return tokenizer(PROMPT.read_text(), return_tensors="pt").input_ids
