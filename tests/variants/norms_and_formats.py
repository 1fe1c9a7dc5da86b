"""Variants in norms, MLP, residual stream, number formats, placement and logits; with their twins.

B batch, S sequence, H hidden, I intermediate.
"""

import torch
import ttnn

from .plain_decoder import TILE, Decoder, whole_tiles

# --- norms ----------------------------------------------------------------------------------------


class NormWithBias(Decoder):
    """Norms have a bias, of zeros."""

    offset = 0.0

    def build(self):
        width = self.config.hidden_size
        self.bias = self.to_device(torch.full((1, 1, 1, width), self.offset))

    def norm(self, x, name):
        return ttnn.rms_norm(x, weight=self.w[name], bias=self.bias, epsilon=self.eps)


class BiasOfNorms(NormWithBias):
    """Fault: it is not zero."""

    offset = 0.1


class NormByHand(Decoder):
    """Square, mean, epsilon, root, product."""

    def norm(self, x, name):
        mean = self.mean(ttnn.square(x))
        scale = ttnn.rsqrt(ttnn.add(mean, self.epsilon()))
        return ttnn.multiply(ttnn.multiply(x, scale), self.w[name])

    def mean(self, x):
        return ttnn.mean(x, dim=-1, keepdim=True)

    def epsilon(self):
        return self.eps


class AnotherEpsilon(NormByHand):
    """Fault: much larger."""

    def epsilon(self):
        return 1e-2


class SumForMean(NormByHand):
    """Fault."""

    def mean(self, x):
        return ttnn.sum(x, dim=-1, keepdim=True)


# --- MLP and residual stream ----------------------------------------------------------------------


class UpFirst(Decoder):
    """`up` before `gate`; the activation is fused into their product."""

    def mlp(self, x, name):
        up = self.product(x, f"{name}up_proj")
        gate = self.product(x, f"{name}gate_proj")
        return self.product(self.gated(gate, up), f"{name}down_proj")

    def gated(self, gate, up):
        return ttnn.multiply(gate, up, input_tensor_a_activations=[ttnn.UnaryOpType.SILU])


class UpActivated(UpFirst):
    """Fault."""

    def gated(self, gate, up):
        return ttnn.multiply(gate, up, input_tensor_b_activations=[ttnn.UnaryOpType.SILU])


class ScaledMlp(Decoder):
    """The MLP computes at twice its size, which is put right at its end."""

    first, last = 2.0, 0.5

    def mlp(self, x, name):
        gate = ttnn.silu(self.product(x, f"{name}gate_proj"))
        up = ttnn.multiply(self.product(x, f"{name}up_proj"), self.first)
        y = self.product(ttnn.multiply(gate, up), f"{name}down_proj")
        return ttnn.multiply(y, self.last)


class ScaledBackTooLittle(ScaledMlp):
    """Fault."""

    last = 0.75


class ScaledByAnyNumber(ScaledMlp):
    """Both numbers are farthest from those of bfloat16, in which the device has them."""

    first, last = 0.25097, 1 / 0.25097


class SiluByHand(Decoder):
    """sigmoid(gate) gate, with the activation's operands exchanged."""

    def mlp(self, x, name):
        gate = self.product(x, f"{name}gate_proj")
        gate = self.activated(gate)
        up = self.product(x, f"{name}up_proj")
        return self.product(ttnn.multiply(up, gate), f"{name}down_proj")

    def activated(self, gate):
        return ttnn.multiply(ttnn.sigmoid(gate), gate)


class SigmoidAlone(SiluByHand):
    """Fault."""

    def activated(self, gate):
        return ttnn.sigmoid(gate)


class FusedGateUp(Decoder):
    """One product for gate and up, which are slices of its columns."""

    order = "gate", "up"

    def build(self):
        for i in range(self.depth):
            name = f"layers.{i}.mlp."
            weights = [self.state[f"{name}{p}_proj"] for p in self.order]
            self.w[f"{name}gate_up"] = self.to_device(torch.cat(weights).T)

    def mlp(self, x, name):
        both, width = self.product(x, f"{name}gate_up"), self.config.intermediate_size
        gate = ttnn.silu(both[:, :, :, :width])
        return self.product(ttnn.multiply(gate, both[:, :, :, width:]), f"{name}down_proj")


class UpInFront(FusedGateUp):
    """Fault: the weights are in another order than they are sliced."""

    order = "up", "gate"


class ResidualSecond(Decoder):
    """What is added comes first, the residual stream second."""

    def add(self, x, y):
        return ttnn.add(y, x)


class ResidualOfTheNorm(ResidualSecond):
    """Fault: the MLP is added to its norm's result."""

    def layer(self, x, i):
        h = self.norm(x, f"layers.{i}.input_layernorm")
        x = self.add(x, self.attention(h, i))
        h = self.norm(x, f"layers.{i}.post_attention_layernorm")
        return self.add(h, self.mlp(h, f"layers.{i}.mlp."))


class WideResidual(Decoder):
    """The residual stream is float32."""

    def embed(self, ids):
        return ttnn.typecast(super().embed(ids), ttnn.float32)

    def norm(self, x, name):
        return super().norm(ttnn.typecast(x, ttnn.bfloat16), name)

    def add(self, x, y):
        return ttnn.add(x, ttnn.typecast(y, ttnn.float32))


class AttentionNotKept(WideResidual):
    """Fault: the MLP is added to the layer's input."""

    def layer(self, x, i):
        h = self.norm(x, f"layers.{i}.input_layernorm")
        y = self.add(x, self.attention(h, i))
        h = self.norm(y, f"layers.{i}.post_attention_layernorm")
        return self.add(x, self.mlp(h, f"layers.{i}.mlp."))


# --- formats and placement ------------------------------------------------------------------------


class EightBits(Decoder):
    """Matrices in bfloat8_b."""

    def format_of(self, name):
        return ttnn.bfloat8_b


class FirstLayersOutput(EightBits):
    """Fault: o_proj of the second layer is that of the first."""

    def product(self, x, name):
        return super().product(x, name.replace("1.self_attn.o_proj", "0.self_attn.o_proj"))


class FourBitMlp(Decoder):
    """Matrices of the MLP in bfloat4_b."""

    def format_of(self, name):
        return ttnn.bfloat4_b if ".mlp." in name else ttnn.bfloat16


class GateForUp(FourBitMlp):
    """Fault, in the second layer."""

    def product(self, x, name):
        return super().product(x, name.replace("1.mlp.up_proj", "1.mlp.gate_proj"))


class Sharded(Decoder):
    """A token's norms and the product of `down` have the width in shards, one per core."""

    cores = 2

    def build(self):
        grid = self.device.compute_with_storage_grid_size()
        self.where = {
            width: ttnn.create_sharded_memory_config(
                (TILE, width // self.cores),
                ttnn.num_cores_to_corerangeset(self.cores, grid, row_wise=True),
                ttnn.ShardStrategy.WIDTH,
                use_height_and_width_as_shard_shape=True,
            )
            for width in (self.config.hidden_size, self.config.intermediate_size)
        }

    def norm(self, x, name):
        if x.shape[2] > 1 or x.shape[0] > 1:
            return super().norm(x, name)
        width = self.config.hidden_size
        x = ttnn.to_memory_config(x, self.where[width])
        y = ttnn.rms_norm(
            x,
            weight=self.w[self.of(name)],
            epsilon=self.eps,
            memory_config=self.where[width],
            program_config=ttnn.LayerNormShardedMultiCoreProgramConfig(
                compute_with_storage_grid_size=(self.cores, 1),
                subblock_w=1,
                block_h=1,
                block_w=width // self.cores // TILE,
                inplace=False,
            ),
        )
        return ttnn.to_memory_config(y, ttnn.DRAM_MEMORY_CONFIG)

    def of(self, name):
        return name

    def product(self, x, name):
        if not name.endswith("down_proj") or x.shape[2] > 1 or x.shape[0] > 1:
            return super().product(x, name)
        x = ttnn.to_memory_config(x, self.where[self.config.intermediate_size])
        y = ttnn.linear(x, self.w[name], memory_config=ttnn.L1_WIDTH_SHARDED_MEMORY_CONFIG)
        return ttnn.to_memory_config(y, ttnn.DRAM_MEMORY_CONFIG)


class NormOfTheOtherPart(Sharded):
    """Fault: a token's attention has the weights of the MLP's norm."""

    def of(self, name):
        return name.replace("input_layernorm", "post_attention_layernorm")


# --- logits ---------------------------------------------------------------------------------------


class LastLogits(Decoder):
    """Logits of the last position alone."""

    back = 1

    def head(self, x):
        b, _, s, width = x.shape
        first = max(s - self.back, 0)
        x = ttnn.slice(x, [0, 0, first, 0], [b, 1, first + 1, width])
        return super().head(x)


class LogitsOneBefore(LastLogits):
    """Fault: logits of the last position but one."""

    back = 2


class LogitsOfTheTile(LastLogits):
    """The last tile is cut out, and the position on the host."""

    def compute(self, ids, start):
        return super().compute(ids, start)[:, (ids.shape[1] - 1) % TILE][:, None]

    def head(self, x):
        b, _, s, width = x.shape
        last = whole_tiles(s)
        x = ttnn.slice(x, [0, 0, last - TILE, 0], [b, 1, s, width])
        return Decoder.head(self, x)


class Bfloat16Logits(Decoder):
    """Logits are returned as the device has them."""

    def compute(self, ids, start):
        return super().compute(ids, start).bfloat16()


class NoFinalNorm(Bfloat16Logits):
    """Fault."""

    def head(self, x):
        return self.product(x, "lm_head")


class Tied(Decoder):
    """The head is the embedding."""

    def head(self, x):
        x = self.norm(x, "norm")
        return ttnn.linear(x, self.head_weight())

    def build(self):
        self.tied = self.to_device(self.state["embed_tokens"].T)

    def head_weight(self):
        return self.tied


class TiedToAnother(Tied):
    """Fault: the rows of the vocabulary are turned by one."""

    def build(self):
        self.tied = self.to_device(self.state["embed_tokens"].roll(1, 0).T)


class LogitsInParts(Decoder):
    """The head in two products, whose results are joined on the host."""

    def build(self):
        self.parts = [self.to_device(part.T) for part in self.state["lm_head"].chunk(2)]

    def compute(self, ids, start):
        first = super().compute(ids, start)
        return torch.cat((first, self.second), dim=-1)

    def head(self, x):
        x = self.norm(x, "norm")
        first, second = (ttnn.linear(x, part) for part in self.parts)
        self.second = ttnn.to_torch(second)[:, 0].float()
        return first
