"""Llama over the chips of a line: heads, MLP columns and vocabulary divided, sums by all_reduce.

On a mesh of rows and columns each row of chips does the same. A cache of one user; activations are
[1, 1, S, H], and so are a step's, with one row.
"""

from types import SimpleNamespace

import torch
import ttnn
from transformers import LlamaConfig, LlamaForCausalLM

CONFIG = LlamaConfig(
    hidden_size=64,
    intermediate_size=256,
    num_hidden_layers=2,
    num_attention_heads=8,
    num_key_value_heads=4,
    head_dim=32,
    vocab_size=384,
    max_position_embeddings=256,
    initializer_range=0.15,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
)


def hf_llama(seed=0):
    """On the CPU: float32, eager, weights that bfloat16 can hold."""
    torch.manual_seed(seed)
    model = LlamaForCausalLM(CONFIG).eval()
    model.set_attn_implementation("eager")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
            parameter.copy_(parameter.bfloat16())
    return model


class ParallelLlama:
    """Called as LlamaForCausalLM is, with one row.

    `gathers`: the logits are gathered on the device, and not by a composer on the host.
    """

    def __init__(self, hf_model, mesh, length=96, gathers=False):
        self.mesh, self.length, self.gathers = mesh, length, gathers
        self.shape = tuple(mesh.shape)
        self.chips, self.flat = self.shape[1], self.shape[0] == 1
        self.config, self.weights = hf_model.config, hf_model.state_dict()
        self.layers = [self.layer(f"model.layers.{i}.") for i in range(CONFIG.num_hidden_layers)]
        self.embedding = self.placed(
            self.weights["model.embed_tokens.weight"], layout=ttnn.ROW_MAJOR_LAYOUT
        )
        d, theta = self.config.head_dim, self.config.rope_parameters["rope_theta"]
        angles = torch.outer(torch.arange(length), theta ** -(torch.arange(0, d, 2) / d))
        angles = torch.cat((angles, angles), -1)
        self.tables = [
            self.placed(table, layout=ttnn.ROW_MAJOR_LAYOUT)
            for table in (angles.cos(), angles.sin())
        ]
        self.norm = self.placed(self.weights["model.norm.weight"][None])
        self.lm_head = self.columns(self.weights["lm_head.weight"])
        self.position = 0

    # --- weights --------------------------------------------------------------------------------

    def placed(self, values, dim=None, dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT):
        """On each chip all of it, or its part along a dimension."""
        mapper = None
        if dim is not None:
            mapper = ttnn.ShardTensor2dMesh(self.mesh, self.shape, (None, dim))
        return ttnn.from_torch(
            values, dtype=dtype, layout=layout, device=self.mesh, mesh_mapper=mapper
        )

    def columns(self, weight):
        """[out, in] with the rows divided."""
        return self.placed(weight.T.contiguous(), 1)

    def rows(self, weight):
        """[out, in] with the columns divided."""
        return self.placed(weight.T.contiguous(), 0)

    def layer(self, prefix):
        own = {n[len(prefix) :]: w for n, w in self.weights.items() if n.startswith(prefix)}
        qkv = [own[f"self_attn.{name}_proj.weight"].chunk(self.chips) for name in "qkv"]
        wqkv = torch.cat([torch.cat(parts) for parts in zip(*qkv, strict=True)])
        cache = torch.zeros(1, CONFIG.num_key_value_heads // self.chips, self.length, 32)
        return SimpleNamespace(
            norm1=self.placed(own["input_layernorm.weight"][None]),
            norm2=self.placed(own["post_attention_layernorm.weight"][None]),
            wqkv=self.columns(wqkv),
            wo=self.rows(own["self_attn.o_proj.weight"]),
            gate=self.columns(own["mlp.gate_proj.weight"]),
            up=self.columns(own["mlp.up_proj.weight"]),
            down=self.rows(own["mlp.down_proj.weight"]),
            keys=self.placed(cache),
            values=self.placed(cache),
        )

    # --- a call ---------------------------------------------------------------------------------

    def sum(self, x):
        return ttnn.all_reduce(x, cluster_axis=None if self.flat else 1)

    def ids(self, numbers):
        """uint32 [1, S] on every chip."""
        return self.placed(
            torch.tensor([numbers], dtype=torch.int32),
            dtype=ttnn.uint32,
            layout=ttnn.ROW_MAJOR_LAYOUT,
        )

    def embedded(self, tokens):
        """The rows of the embedding that are looked up."""
        return self.ids(tokens)

    def rope_rows(self, positions):
        """The same of the tables of cos and sin."""
        return self.ids(positions)

    def cache_position(self, position):
        """int32 [1] on every chip."""
        return self.placed(
            torch.tensor([position], dtype=torch.int32),
            dtype=ttnn.int32,
            layout=ttnn.ROW_MAJOR_LAYOUT,
        )

    def rotated(self, x, cos, sin):  # [1, N, S, D]
        one, n, s, d = x.shape
        left = ttnn.slice(x, [0, 0, 0, 0], [one, n, s, d // 2])
        right = ttnn.slice(x, [0, 0, 0, d // 2], [one, n, s, d])
        turned = ttnn.concat([ttnn.neg(right), left], dim=-1)
        return ttnn.add(ttnn.multiply(x, cos), ttnn.multiply(turned, sin))

    def attention(self, layer, x, cos, sin, where):
        heads = CONFIG.num_attention_heads // self.chips
        kv_heads = CONFIG.num_key_value_heads // self.chips
        q, k, v = ttnn.experimental.nlp_create_qkv_heads(
            ttnn.linear(x, layer.wqkv),
            num_heads=heads,
            num_kv_heads=kv_heads,
            transpose_k_heads=False,
        )
        q, k = (self.rotated(t, cos, sin) for t in (q, k))
        if where is None:
            for cache, new in ((layer.keys, k), (layer.values, v)):
                ttnn.fill_cache(cache, new, batch_idx=0)
            y = ttnn.transformer.scaled_dot_product_attention(q, k, v, is_causal=True)
            y = ttnn.experimental.nlp_concat_heads(y)
        else:
            place = ttnn.create_sharded_memory_config(
                (32, 32),
                ttnn.num_cores_to_corerangeset(1, ttnn.CoreCoord(8, 8), row_wise=True),
                ttnn.ShardStrategy.HEIGHT,
                use_height_and_width_as_shard_shape=True,
            )
            for cache, new in ((layer.keys, k), (layer.values, v)):
                new = ttnn.to_memory_config(ttnn.transpose(new, 1, 2), place)
                ttnn.experimental.paged_update_cache(cache, new, update_idxs_tensor=where)
            q = ttnn.transpose(q, 1, 2)  # [1, B, N, D]
            y = ttnn.transformer.scaled_dot_product_attention_decode(
                q, layer.keys, layer.values, cur_pos_tensor=where
            )
            y = ttnn.reshape(y, (1, 1, 1, heads * 32))
        return ttnn.linear(y, layer.wo)

    def mlp(self, layer, x):
        gate = ttnn.silu(ttnn.linear(x, layer.gate))
        return ttnn.linear(ttnn.multiply(gate, ttnn.linear(x, layer.up)), layer.down)

    def normed(self, x, weight):
        return ttnn.rms_norm(x, weight=weight, epsilon=CONFIG.rms_norm_eps)

    def __call__(self, input_ids, past_key_values=None, use_cache=True):
        assert len(input_ids) == 1, "one row"
        tokens = input_ids[0].tolist()
        if past_key_values is None:
            self.position = 0
        assert not self.position or len(tokens) == 1, "after the prompt, a token at a time"
        positions = list(range(self.position, self.position + len(tokens)))
        where = self.cache_position(self.position) if past_key_values is not None else None
        x, cos, sin = (
            ttnn.unsqueeze_to_4D(ttnn.embedding(ids, table, layout=ttnn.TILE_LAYOUT))
            for ids, table in (
                (self.embedded(tokens), self.embedding),
                *((self.rope_rows(positions), table) for table in self.tables),
            )
        )
        for layer in self.layers:
            y = self.attention(layer, self.normed(x, layer.norm1), cos, sin, where)
            x = ttnn.add(x, self.sum(y))
            x = ttnn.add(x, self.sum(self.mlp(layer, self.normed(x, layer.norm2))))
        logits = ttnn.linear(self.normed(x, self.norm), self.lm_head)
        self.position += len(tokens)
        return SimpleNamespace(logits=self.on_host(logits), past_key_values=self)

    def on_host(self, logits):
        if self.gathers or not self.flat:
            logits = ttnn.all_gather(logits, dim=3, cluster_axis=None if self.flat else 1)
            whole = ttnn.get_device_tensors(logits)[0].to_torch()
        else:
            composer = ttnn.ConcatMeshToTensor(self.mesh, dim=3)
            whole = ttnn.to_torch(logits, mesh_composer=composer)
        return whole[0].float()
