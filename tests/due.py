"""What Hugging Face computed, and each part of it once more with a device's roundings."""

import dataclasses

import torch
import transformers

from ttnn_verify.huggingface import golden, module_floors


@dataclasses.dataclass(frozen=True)
class Due:
    """A golden of a model, and its noise: of all its rows, computed when it is first asked for."""

    hf_model: transformers.PreTrainedModel
    golden: golden.Golden
    _noisy: dict = dataclasses.field(default_factory=dict)

    def __getitem__(self, name):
        """Hugging Face's values, by `ttnn_verify.huggingface.submodules`' names."""
        return self.golden.values[name]

    def noisy(self, name):
        """The values of a name, of its part fed with Hugging Face's own input."""
        if name not in self._noisy:
            self._noisy[name] = self._run(name)
        return self._noisy[name]

    def noisy_stack(self, name):
        """The same, of the whole model that hands its noise on."""
        if "stack" not in self._noisy:
            self._noisy["stack"] = module_floors.values(self.hf_model, self.golden.tokens)
        return self._noisy["stack"][name]

    def _run(self, name):
        if name == "logits":
            last = self[f"layers.{len(self.hf_model.model.layers) - 1}.output"]
            head = torch.nn.Sequential(self.hf_model.model.norm, self.hf_model.lm_head)
            return module_floors.run(head, last)
        at, part = name.rsplit(".", 1)
        layer = self.hf_model.get_submodule(f"model.{at}")
        if part in ("q", "k"):
            x = module_floors.to_bf16(self[name + "_unrotated"])
            return module_floors.rope(x, x, self["cos"], self["sin"])[0]
        module, fed, seen = {
            "input_norm": (layer.input_layernorm, "input", {}),
            "post_norm": (layer.post_attention_layernorm, "residual", {}),
            "o_proj": (layer.self_attn, "input_norm", self._positions()),
            "down": (layer.mlp, "post_norm", {}),
            "output": (layer, "input", self._positions()),
        }[part]
        return module_floors.run(module, self[f"{at}.{fed}"], **seen)

    def _positions(self):
        """What an attention wants beside its input: cos and sin, and the causal mask."""
        seq_len = self.golden.tokens.shape[1]
        mask = torch.full((seq_len, seq_len), -torch.inf).triu(1)[None, None]
        return {"position_embeddings": (self["cos"], self["sin"]), "attention_mask": mask}
