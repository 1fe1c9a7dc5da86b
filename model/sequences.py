"""The tokens that a model's cache holds, as the host knows them.

B batch, S sequence.
"""

import torch

SKIP = -1  # as a position: TTNN's kernels leave this row of the batch alone


class Sequences:
    """`past_key_values`: the tokens that the cache holds, row by row.

    The keys and values themselves stay on the device. There is one cache, so new sequences end the
    ones before them.

    Attributes:
        mask: bool [B, columns], which columns of the input held a token.
        tokens: one list of token ids for each row; the n-th is at position n.
    """

    is_compileable = False  # asked by transformers' generate()

    def __init__(self, batch: int):
        self.mask = torch.zeros(batch, 0, dtype=torch.bool)
        self.tokens: list[list[int]] = [[] for _ in range(batch)]

    def append(self, mask: torch.Tensor, tokens: list[list[int]]) -> None:
        """Columns that the cache holds now: bool [B, S], and their tokens row by row."""
        self.mask = torch.cat((self.mask, mask), dim=1)
        self.tokens = [old + new for old, new in zip(self.tokens, tokens, strict=True)]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.mask.shape[1]

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        raise ValueError(
            "Beam search reorders the cache, which stays where it is: use num_beams=1."
        )
