"""Other architectures, each before its twins with a fault."""

import torch
import ttnn

from .attending import HIDDEN, AttentionByHand, MaskGiven, ScoresScaled, attended_by_mask
from .plain_decoder import Decoder


class Windowed(MaskGiven):
    """Mistral: a token sees itself and those of the window before it, decoded ones too."""

    def attend(self, q, k, v):
        s, length = q.shape[2], k.shape[2]
        rows, keys = torch.arange(length - s, length)[:, None], torch.arange(length)
        hidden = (keys > rows) | (keys <= rows - self.window())
        return attended_by_mask(self, q, k, v, hidden[None, None])

    def window(self):
        return self.config.sliding_window


class WindowOneLarger(Windowed):
    """Fault: a token sees one more."""

    def window(self):
        return self.config.sliding_window + 1


class Ungated(Decoder):
    """Arcee: an MLP of two products, with the square of a ReLU between them."""

    def mlp(self, x, name):
        y = ttnn.square(ttnn.relu(self.product(x, f"{name}up_proj")))
        return self.product(y, f"{name}down_proj")


class ReluNotSquared(Ungated):
    """Fault: the ReLU alone."""

    def mlp(self, x, name):
        y = ttnn.relu(self.product(x, f"{name}up_proj"))
        return self.product(y, f"{name}down_proj")


class Multiplied(Decoder):
    """Granite: constants for embeddings, residuals, scores and logits."""

    def embed(self, ids):
        return ttnn.multiply(super().embed(ids), self.config.embedding_multiplier)

    def add(self, x, y):
        return ttnn.add(x, ttnn.multiply(y, self.residual()))

    def residual(self):
        return self.config.residual_multiplier

    def attend(self, q, k, v):
        return ttnn.transformer.scaled_dot_product_attention(
            q, k, v, is_causal=q.shape[2] > 1, scale=self.scale()
        )

    def scale(self):
        return self.config.attention_multiplier

    def head(self, x):
        return ttnn.multiply(super().head(x), 1 / self.config.logits_scaling)


class UsualScale(Multiplied):
    """Fault: 1 / sqrt(D)."""

    def scale(self):
        return self.d**-0.5


class ResidualOfAnother(Multiplied):
    """Fault: the residual's constant is a fifth larger."""

    def residual(self):
        return 1.2 * self.config.residual_multiplier


class Capped(AttentionByHand):
    """Gemma 2: scaled embeddings, norms with 1 + w, four in a layer, caps, windows in every second.

    Scores are capped, so attention is written by hand.
    """

    def placed(self, name, weight):
        return super().placed(name, 1 + weight if weight.dim() == 1 else weight)

    def embed(self, ids):
        return ttnn.multiply(super().embed(ids), self.config.hidden_size**0.5)

    def layer(self, x, i):
        name = f"layers.{i}."
        self.windowed = self.config.layer_types[i] == "sliding_attention"
        h = self.attention(self.norm(x, f"{name}input_layernorm"), i)
        x = self.add(x, self.norm(h, f"{name}post_attention_layernorm"))
        h = self.mlp(self.norm(x, f"{name}pre_feedforward_layernorm"), f"{name}mlp.")
        return self.add(x, self.norm(h, f"{name}post_feedforward_layernorm"))

    def scale(self):
        return self.config.query_pre_attn_scalar**-0.5

    def attend(self, q, k, v):
        s, length = q.shape[2], k.shape[2]
        k, v = self.repeated(k), self.repeated(v)
        scores = ttnn.matmul(self.scaled(q), ttnn.transpose(k, -2, -1))
        scores = self.capped(scores, self.config.attn_logit_softcapping)
        rows, keys = torch.arange(length - s, length)[:, None], torch.arange(length)
        hidden = keys > rows
        if self.windowed:
            hidden |= keys <= rows - self.config.sliding_window
        scores = ttnn.add(scores, self.to_device((hidden * HIDDEN)[None, None]))
        return ttnn.matmul(ttnn.softmax(scores, dim=-1), v)

    def capped(self, x, cap):
        return ttnn.multiply(ttnn.tanh(ttnn.multiply(x, 1 / cap)), cap)

    def mlp(self, x, name):
        gate = ttnn.gelu(self.product(x, f"{name}gate_proj"), fast_and_approximate_mode=False)
        return self.product(
            ttnn.multiply(gate, self.product(x, f"{name}up_proj")), f"{name}down_proj"
        )

    def head(self, x):
        return self.capped(super().head(x), self.config.final_logit_softcapping)


class WindowsEverywhere(Capped):
    """Fault: every layer has a window."""

    def attend(self, q, k, v):
        self.windowed = True
        return super().attend(q, k, v)


class NormsWithoutOne(Capped):
    """Fault: the norms after the MLP have their weights without the 1."""

    def placed(self, name, weight):
        if name.endswith("post_feedforward_layernorm"):
            return Decoder.placed(self, name, weight)
        return super().placed(name, weight)


class NormsBehind(Decoder):
    """OLMo 2: norms after attention and MLP, and of all queries and keys before they are split."""

    def layer(self, x, i):
        name = f"layers.{i}."
        h = self.norm(self.attention(x, i), f"{name}post_attention_layernorm")
        x = self.add(x, h)
        h = self.norm(self.mlp(x, f"{name}mlp."), f"{name}post_feedforward_layernorm")
        return self.add(x, h)

    def heads(self, x, name):
        q, k = (self.norm(self.product(x, f"{name}{p}_proj"), f"{name}{p}_norm") for p in "qk")
        v = self.product(x, f"{name}v_proj")
        return self.split(q, self.n), self.split(k, self.k), self.split(v, self.k)


class NormsInFront(NormsBehind):
    """Fault: the attention's norm comes before it, as in most models."""

    def layer(self, x, i):
        name = f"layers.{i}."
        x = self.add(x, self.attention(self.norm(x, f"{name}post_attention_layernorm"), i))
        h = self.norm(self.mlp(x, f"{name}mlp."), f"{name}post_feedforward_layernorm")
        return self.add(x, h)


class LayerNorms(ScoresScaled):
    """StarCoder 2: norms that take the mean away, with biases as all products; sums of 16 bits."""

    def placed(self, name, weight):
        if weight.dim() == 1:
            return self.to_device(weight[None, None, None])
        return super().placed(name, weight)

    def build(self):
        self.sums = ttnn.WormholeComputeKernelConfig(
            math_fidelity=ttnn.MathFidelity.HiFi4, fp32_dest_acc_en=False, packer_l1_acc=True
        )

    def norm(self, x, name):
        return ttnn.layer_norm(
            x,
            weight=self.w[name],
            bias=self.shift(name),
            epsilon=self.eps,
            compute_kernel_config=self.sums,
        )

    def shift(self, name):
        return self.w[f"{name}.bias"]

    def product(self, x, name):
        return ttnn.linear(x, self.w[name], bias=self.w.get(f"{name}.bias"))

    def mlp(self, x, name):
        y = ttnn.gelu(self.product(x, f"{name}c_fc"), fast_and_approximate_mode=False)
        return self.product(y, f"{name}c_proj")


class NormsWithoutBias(LayerNorms):
    """Fault: the norms have no bias."""

    def shift(self, name):
        return None
