"""Phi-3 on the device as a Hugging Face causal language model that `generate` can drive.

B batch, S sequence, V vocabulary.
"""

import copy
from collections.abc import Callable
from typing import Any, Protocol

import torch
import ttnn
from transformers import GenerationConfig, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from .sequences import SKIP, Sequences


class DeviceModel(Protocol):
    """What computes logits on the device, with a cache of its own.

    Attributes:
        batch: rows of the cache.
        prefill_multiple: a prefill may begin at multiples of so many tokens.
    """

    batch: int
    prefill_multiple: int

    def prefill(self, tokens: list[int], row: int, start: int, keep: int) -> torch.Tensor:
        """Logits [keep, V] of the last `keep` of a sequence's tokens, which fill a cache row.

        The cache has the tokens before `start` already.
        """

    def decode(self, tokens: list[int], positions: list[int]) -> torch.Tensor:
        """Logits [B, V] after a token for each row, at its position; a row at SKIP has none."""

    def turns_long(self, before: int, after: int) -> bool:
        """Whether a sequence that grows outgrows LongRoPE's short factors on the way.

        What the cache holds of it is of no use then.
        """


class TTPhi3ForCausalLM(torch.nn.Module, GenerationMixin):
    """Token ids in, logits out, as transformers' Phi3ForCausalLM; the device does the rest.

    It holds one batch of sequences at a time: a call without `past_key_values` begins a new one.

    Args:
        hf_config: a Phi3Config.
        model: does the work.
        max_length: positions that a sequence may have.
    """

    main_input_name = "input_ids"
    base_model_prefix = "model"
    input_modalities = ("text",)
    _is_stateful = True  # the cache cannot be rolled back for assisted decoding

    def __init__(self, hf_config: PretrainedConfig, model: DeviceModel, max_length: int):
        super().__init__()
        self.config = hf_config
        self.generation_config = GenerationConfig.from_model_config(hf_config)
        self.device = torch.device("cpu")  # of the ids it takes and the logits it returns
        self.dtype = torch.bfloat16
        self.max_length = max_length
        self.batch = model.batch
        self.model = model
        self._sequences: Sequences | None = None  # whose keys and values the cache holds

    @torch.no_grad()
    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Sequences | None = None,
        use_cache: bool = True,
        position_ids: torch.Tensor | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        return_dict: bool = True,
    ) -> CausalLMOutputWithPast | tuple:
        """Logits [B, S, V] of input_ids [B, S], which follow what `past_key_values` holds.

        Where `attention_mask` [B, columns so far] is 0 there is no token: each row is computed as
        if it stood alone without these columns, whose logits are those of the row's last token
        before. `logits_to_keep` as in Phi3ForCausalLM: the last so many columns, 0 for all, or the
        indices of columns. A call that fails leaves `past_key_values` as it was, to be used again.
        Raises ValueError for a larger batch than the model is built for, for ids outside the
        vocabulary, for positions that are not those of the tokens, and for more of them than the
        cache has.
        """
        self._check_ids(input_ids)
        past = Sequences(len(input_ids)) if past_key_values is None else past_key_values
        if past_key_values is not None and past_key_values is not self._sequences:
            raise ValueError(
                "past_key_values belongs to a sequence that a later one has replaced on the "
                "device; call without it to begin again."
            )
        mask = self._checked_mask(input_ids, past, attention_mask)  # [B, S]
        self._check_positions(past, mask, position_ids)
        self._sequences = past  # even a call that fails may overwrite other sequences' keys

        columns = torch.arange(input_ids.shape[1])
        if isinstance(logits_to_keep, torch.Tensor):
            columns = columns[logits_to_keep]
        elif logits_to_keep:
            columns = columns[-logits_to_keep:]
        tokens = [ids[present].tolist() for ids, present in zip(input_ids, mask, strict=True)]
        indices = [present.cumsum(0)[columns] - 1 for present in mask]
        logits = self._logits(past.tokens, tokens, indices)
        past.append(mask, tokens)  # only now that the device has succeeded
        output = CausalLMOutputWithPast(
            logits=logits,
            # transformers uses only what Sequences has
            past_key_values=past if use_cache else None,  # type: ignore[arg-type]
        )
        return output if return_dict else output.to_tuple()

    def _logits(
        self, past: list[list[int]], new: list[list[int]], indices: list[torch.Tensor]
    ) -> torch.Tensor:
        """Logits [B, columns, V] after the new tokens of each row, which follow its past ones.

        `indices`, [columns] for each row, says which of the new tokens a column shows; -1, a token
        before them, gives zeros. Single tokens that follow others go through decode together, all
        others row by row through prefill.
        """
        logits = torch.zeros(len(new), len(indices[0]), self.config.vocab_size, dtype=self.dtype)
        decoded = {}  # row -> (token, position)
        for row, (before, tokens) in enumerate(zip(past, new, strict=True)):
            if len(tokens) == 1 and not self._turns_long(len(before), len(before) + 1):
                decoded[row] = tokens[0], len(before)
            elif tokens:
                logits[row] = self._prefill_row(before + tokens, row, len(before), indices[row])
        if decoded:
            step = self._decode_rows(decoded)
            for row in decoded:
                logits[row] = torch.where((indices[row] >= 0)[:, None], step[row], 0)
        return logits

    def _prefill_row(
        self, tokens: list[int], row: int, start: int, indices: torch.Tensor
    ) -> torch.Tensor:
        """Logits [columns, V] of tokens[start:][indices], zeros where the index is -1."""
        new = len(tokens) - start
        chosen = indices >= 0
        keep = new - int(indices[chosen].min()) if bool(chosen.any()) else 1
        if self._turns_long(start, len(tokens)):
            start = 0  # what the cache holds was rotated with the short factors
        start = start // self.model.prefill_multiple * self.model.prefill_multiple
        logits = self.model.prefill(tokens, row, start, keep)
        return torch.where(chosen[:, None], logits[(indices - (new - keep)).clamp(min=0)], 0)

    def _decode_rows(self, rows: dict[int, tuple[int, int]]) -> torch.Tensor:
        """Logits [batch, V] after one (token, position) of each of `rows`; the others undefined."""
        tokens, positions = [0] * self.batch, [SKIP] * self.batch
        for row, (token, position) in rows.items():
            tokens[row], positions[row] = token, position
        return self.model.decode(tokens, positions)

    def _turns_long(self, before: int, after: int) -> bool:
        """Whether a sequence is to be computed again, all of it with the long factors.

        Hugging Face drops the cache there (Phi3ForCausalLM.prepare_inputs_for_generation).
        """
        return before > 0 and self.model.turns_long(before, after)

    def _check_ids(self, ids: torch.Tensor) -> None:
        if ids.ndim != 2 or not 1 <= ids.shape[0] <= self.batch:
            raise ValueError(
                f"input_ids has shape {tuple(ids.shape)}; (B, S) is needed, B at most "
                f"{self.batch}, the rows of the model's cache."
            )
        if ids.shape[1] == 0:
            raise ValueError("input_ids is empty; at least one token is needed.")
        wrong = ids[(ids < 0) | (ids >= self.config.vocab_size)]
        if len(wrong):
            raise ValueError(
                f"Token id {wrong[0].item()} is outside the vocabulary of {self.config.vocab_size}."
            )

    def _checked_mask(
        self, ids: torch.Tensor, past: Sequences, attention_mask: torch.Tensor | None
    ) -> torch.Tensor:
        """bool [B, S]: where input_ids holds a token."""
        batch, seq_len = ids.shape
        if len(past.tokens) != batch:
            raise ValueError(
                f"{batch} rows of input_ids; past_key_values holds {len(past.tokens)}."
            )
        if attention_mask is None:
            return torch.ones(batch, seq_len, dtype=torch.bool)
        mask, columns = attention_mask.bool(), past.mask.shape[1]
        if mask.shape != (batch, columns + seq_len) or not mask[:, :columns].equal(past.mask):
            raise ValueError(
                f"attention_mask has shape {tuple(mask.shape)}; ({batch}, {columns + seq_len}) is "
                f"needed, the first {columns} columns as they were before."
            )
        if not mask.any(dim=1).all():
            raise ValueError("attention_mask has a row without a token; each needs at least one.")
        return mask[:, columns:]

    def _check_positions(
        self, past: Sequences, mask: torch.Tensor, position_ids: torch.Tensor | None
    ) -> None:
        lengths = torch.tensor([[len(tokens)] for tokens in past.tokens])
        positions = lengths + mask.cumsum(dim=1) - 1
        end = int(positions.max()) + 1
        if end > self.max_length:
            raise ValueError(f"{end} tokens do not fit; {self._limit()}.")
        if position_ids is None:
            return
        if position_ids.shape[-1] != mask.shape[1] or bool(
            ((position_ids != positions) & mask).any()
        ):
            raise ValueError(
                f"position_ids of shape {tuple(position_ids.shape)} are not the positions of these "
                f"tokens, {int(positions[mask].min())} to {end - 1}."
            )

    def _limit(self) -> str:
        return f"the model was built with max_seq_len {self.max_length}"

    # What transformers' generate() asks of a model, beside forward.

    @classmethod
    def can_generate(cls) -> bool:
        return True

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False  # forward makes the cache itself

    def _validate_generated_length(
        self, generation_config: GenerationConfig, input_ids_length: int, *args: Any
    ) -> None:
        # GenerationMixin types its self as transformers' own models
        super()._validate_generated_length(  # type: ignore[misc]
            generation_config, input_ids_length, *args
        )
        if generation_config.max_length > self.max_length:
            raise ValueError(
                f"{input_ids_length} prompt tokens and up to "
                f"{generation_config.max_length - input_ids_length} new ones do not fit; "
                f"{self._limit()}."
            )

    def is_remote_code(self) -> bool:
        return False

    def get_experts_implementation(self) -> dict:
        return {}  # Phi-3 has no experts


def from_hf_model(
    build: Callable[..., TTPhi3ForCausalLM],
    hf_model: PreTrainedModel,
    tt_device: ttnn.MeshDevice,
    max_seq_len: int,
    **options: Any,
) -> TTPhi3ForCausalLM:
    """`build` for the configuration and the weights of a Hugging Face model on the CPU."""
    if hf_model.device.type == "meta":
        raise ValueError(
            "hf_model is on the meta device and has no weights; pass its config and a Checkpoint "
            "of its folder to build instead."
        )
    model = build(hf_model.config, hf_model.state_dict(), tt_device, max_seq_len, **options)
    model.generation_config = copy.deepcopy(hf_model.generation_config)
    return model
