"""Write a small Llama with random weights: python examples/llama/checkpoint.py FOLDER

Beside it, in FOLDER/prompt.txt, token ids for a prompt: the checkpoint has no tokenizer.
"""

import pathlib
import sys

import torch
import transformers


def main(folder):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        vocab_size=512,
        max_position_embeddings=2048,
        initializer_range=0.08,  # large enough that the logits tell tokens apart
    )
    model = transformers.LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:  # the weights of norms: ones would hide one that is left out
                parameter.add_(0.2 * torch.randn_like(parameter))
    model.bfloat16().save_pretrained(folder)
    ids = torch.randint(3, config.vocab_size, (40,)).tolist()
    pathlib.Path(folder, "prompt.txt").write_text(" ".join(map(str, ids)) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/llama/checkpoint.py FOLDER")
    main(sys.argv[1])
