"""Phi-3 on the device as a Hugging Face causal language model that `generate` can drive."""

import copy
from collections.abc import Mapping

import torch
from transformers import GenerationConfig, GenerationMixin
from transformers.modeling_outputs import CausalLMOutputWithPast

from .cache import MAX_CACHE_SEQ_LEN, Sequence, cache_length
from .config import ModelConfig
from .phi3 import Phi3


class TTPhi3ForCausalLM(torch.nn.Module, GenerationMixin):
    """Token ids in, logits out, as transformers' Phi3ForCausalLM; the device does the rest.

    It holds one sequence at a time: a call without `past_key_values` begins a new one.
    """

    main_input_name = "input_ids"
    base_model_prefix = "model"
    input_modalities = ("text",)
    _is_stateful = True  # the cache cannot be rolled back for assisted decoding

    def __init__(self, hf_config, weights: Mapping[str, torch.Tensor], tt_device, max_seq_len: int):
        super().__init__()
        config = ModelConfig.from_hf(hf_config)
        if max_seq_len < 1:
            raise ValueError(f"max_seq_len is {max_seq_len}; it must be at least 1.")
        cache_len = cache_length(max_seq_len)
        self.max_length = min(max_seq_len, cache_len)  # positions a sequence may have
        window = config.sliding_window
        if window is not None and window < self.max_length:
            raise ValueError(
                f"The sliding window is {window}; this model attends to all positions, so "
                f"max_seq_len may be at most {window}, not {max_seq_len}."
            )
        self.config = hf_config
        self.generation_config = GenerationConfig.from_model_config(hf_config)
        self.device = torch.device("cpu")  # where ids come from and logits go
        self.dtype = torch.bfloat16
        self.model = Phi3(config, weights, max_seq_len, cache_len, tt_device)
        self._sequence = None

    @torch.no_grad()
    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Sequence | None = None,
        use_cache: bool = True,
        position_ids: torch.Tensor | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        return_dict: bool = True,
    ) -> CausalLMOutputWithPast | tuple:
        """Logits [1, S, V] of input_ids [1, S], which follow what `past_key_values` holds.

        `logits_to_keep` as in Phi3ForCausalLM: the last so many positions, 0 for all, or the
        indices of positions. Raises ValueError for a batch, for ids outside the vocabulary, for
        a mask or positions with gaps, and for more positions than the cache has.
        """
        self._check_ids(input_ids)
        sequence = Sequence() if past_key_values is None else past_key_values
        if past_key_values is not None and past_key_values is not self._sequence:
            raise ValueError(
                "past_key_values belongs to a sequence that a later one has replaced on the "
                "device; call without it to begin again."
            )
        start, seq_len = sequence.length, input_ids.shape[1]
        self._check_positions(start, seq_len, attention_mask, position_ids)
        self._sequence = sequence

        keep = logits_to_keep if isinstance(logits_to_keep, int) and logits_to_keep else seq_len
        keep = min(keep, seq_len)
        if start == 0 and seq_len > 1:
            logits = self.model.prefill(input_ids[0], keep)
        else:
            rows = [self.model.decode(input_ids[0, i : i + 1], start + i) for i in range(seq_len)]
            logits = torch.cat(rows[-keep:])
        sequence.length += seq_len
        if isinstance(logits_to_keep, torch.Tensor):
            logits = logits[logits_to_keep]

        output = CausalLMOutputWithPast(
            logits=logits[None], past_key_values=sequence if use_cache else None
        )
        return output if return_dict else output.to_tuple()

    def _check_ids(self, ids):
        if ids.ndim != 2 or ids.shape[0] != 1:
            raise ValueError(f"input_ids has shape {tuple(ids.shape)}; batch 1 is needed: (1, S).")
        if ids.shape[1] == 0:
            raise ValueError("input_ids is empty; at least one token is needed.")
        wrong = ids[(ids < 0) | (ids >= self.config.vocab_size)]
        if len(wrong):
            raise ValueError(
                f"Token id {wrong[0].item()} is outside the vocabulary of {self.config.vocab_size}."
            )

    def _check_positions(self, start, seq_len, attention_mask, position_ids):
        end = start + seq_len
        if end > self.max_length:
            raise ValueError(f"{end} tokens do not fit; {self._limit()}.")
        if attention_mask is not None and not bool((attention_mask == 1).all()):
            raise ValueError(
                "attention_mask has zeros (generate makes them where the prompt holds pad tokens); "
                "a single sequence needs no padding, so it must be all ones or None."
            )
        if position_ids is not None and position_ids.tolist() != [[*range(start, end)]]:
            raise ValueError(
                f"position_ids of shape {tuple(position_ids.shape)} are not the positions of these "
                f"tokens, {start} to {end - 1}."
            )

    def _limit(self) -> str:
        return (
            f"the limit is {self.max_length}, the smaller of max_seq_len and the cache's "
            f"{MAX_CACHE_SEQ_LEN} positions"
        )

    # What transformers' generate() asks of a model, beside forward.

    @classmethod
    def can_generate(cls) -> bool:
        return True

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False  # forward makes the cache itself

    def _validate_generated_length(self, generation_config, input_ids_length, *args):
        super()._validate_generated_length(generation_config, input_ids_length, *args)
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


def build(
    hf_config, weights: Mapping[str, torch.Tensor], tt_device, max_seq_len: int
) -> TTPhi3ForCausalLM:
    """Phi-3 on `tt_device` from a configuration and named host tensors.

    `weights` may read or make its tensors when asked for (weights.Checkpoint, say): each is
    asked for once and dropped as soon as it is on the device. `max_seq_len` chooses LongRoPE's
    factors and, up to MAX_CACHE_SEQ_LEN, the length of the cache.

    Raises ValueError for a configuration this bring-up does not compute and for a missing tensor.
    """
    try:
        return TTPhi3ForCausalLM(hf_config, weights, tt_device, max_seq_len)
    except KeyError as error:
        raise ValueError(f"The checkpoint has no tensor {error}.") from error


def build_model(hf_model, tt_device, max_seq_len: int) -> TTPhi3ForCausalLM:
    """Phi-3 on `tt_device` from a Hugging Face Phi3ForCausalLM on the CPU. See `build`."""
    if hf_model.device.type == "meta":
        raise ValueError(
            "hf_model is on the meta device and has no weights; pass its config and a Checkpoint "
            "of its folder to build instead."
        )
    model = build(hf_model.config, hf_model.state_dict(), tt_device, max_seq_len)
    model.generation_config = copy.deepcopy(hf_model.generation_config)
    return model
