"""Hugging Face's values for a text, exact and with a device's roundings."""

import dataclasses

import torch
import transformers

from ttnn_verify.huggingface import golden, module_floors


@dataclasses.dataclass(frozen=True)
class HfReference:
    """A golden of a model, and each of its values once more, rounded as a device rounds.

    The rounded values are computed, of all rows, when they are first asked for; `by_default` says
    how, as of `module_floors.rounded`.
    """

    hf_model: transformers.PreTrainedModel
    golden: golden.Golden
    by_default: bool = False
    _rounded: dict[str, torch.Tensor | dict[str, torch.Tensor]] = dataclasses.field(
        default_factory=dict
    )

    def __getitem__(self, name: str) -> torch.Tensor:
        """Hugging Face's values, by `ttnn_verify.huggingface.submodules`' names."""
        return self.golden.values[name]

    def rounded(self, name: str) -> torch.Tensor:
        """The values of a name, of its submodule run with roundings on Hugging Face's own input."""
        if name not in self._rounded:
            self._rounded[name] = self._run(name)
        return self._rounded[name]

    def rounded_stack(self, name: str) -> torch.Tensor:
        """The same for the whole model with roundings: each layer inherits the noise before it."""
        if "stack" not in self._rounded:
            self._rounded["stack"] = module_floors.values(
                self.hf_model, self.golden.tokens, self.by_default
            )
        return self._rounded["stack"][name]

    def _run(self, name):
        if name == "logits":
            last = self[f"layers.{len(self.hf_model.model.layers) - 1}.output"]
            head = torch.nn.Sequential(self.hf_model.model.norm, self.hf_model.lm_head)
            return module_floors.run(head, last, self.by_default)
        at, part = name.rsplit(".", 1)
        layer = self.hf_model.get_submodule(f"model.{at}")
        if part in ("q", "k"):
            x = module_floors.to_bf16(self[name + "_unrotated"])
            return module_floors.rope(x, x, self["cos"], self["sin"])[0]
        module, input_name, more_inputs = {
            "input_norm": (layer.input_layernorm, "input", {}),
            "post_norm": (layer.post_attention_layernorm, "residual", {}),
            "o_proj": (layer.self_attn, "input_norm", self._positions()),
            "down": (layer.mlp, "post_norm", {}),
            "output": (layer, "input", self._positions()),
        }[part]
        return module_floors.run(module, self[f"{at}.{input_name}"], self.by_default, **more_inputs)

    def _positions(self):
        """An attention's inputs beside its hidden states: cos and sin, and the causal mask."""
        seq_len = self.golden.tokens.shape[1]
        mask = torch.full((seq_len, seq_len), -torch.inf).triu(1)[None, None]
        return {"position_embeddings": (self["cos"], self["sin"]), "attention_mask": mask}
