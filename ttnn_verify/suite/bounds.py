"""How far a whole model's logits may be from Hugging Face's.

The floor is the error that Hugging Face's own pass in bfloat16 makes of the same logits, times what
the model's own settings add to that (see `huggingface.as_called`); the tolerance is `tolerance.K`
times that.
"""

import dataclasses
from typing import Any

import torch

from ttnn_verify import jobs
from ttnn_verify.huggingface import bf16_pass
from ttnn_verify.numerics import floors


@dataclasses.dataclass(frozen=True)
class BoundedLogits:
    """Hugging Face's logits of a text, and how far off the last rows of them may be.

    Attributes:
        exact, in_bfloat16: `[S, V]` float32, of the two passes.
        factor: by how much the floor is larger than the error of the pass in bfloat16.
    """

    exact: torch.Tensor
    in_bfloat16: torch.Tensor
    factor: float = 1.0

    def floor(self, rows: int) -> floors.Floor:
        """The floor of the last rows: at least that of the text, since theirs is small by chance.

        A row by itself may be the worst one of the text.
        """
        last, text = (
            floors.between(self.exact[-n:].double(), self.in_bfloat16[-n:].double())
            for n in (rows, len(self.exact))
        )
        worst_row = max(last.worst_row, text.worst_row)
        whole = worst_row if rows == 1 else max(last.relative_l2, text.relative_l2)
        return floors.Floor(self.factor * whole, self.factor * worst_row)


@torch.no_grad()
def bounded_logits(hf_model: Any, ids: torch.Tensor, factor: float = 1.0) -> BoundedLogits:
    """The logits of ids `[1, S]` and their bounds.

    Args:
        hf_model: a causal language model of transformers, in float32.

    Raises:
        jobs.Undetermined: it fails, or its logits are not finite.
    """
    with jobs.hugging_face_runs():
        exact = hf_model(ids, use_cache=False).logits[0].float()
        jobs.check_reference(exact)
        with bf16_pass.rounded(hf_model):
            in_bfloat16 = hf_model(ids, use_cache=False).logits[0].float()
    jobs.check_reference(in_bfloat16)
    return BoundedLogits(exact, in_bfloat16, factor)
