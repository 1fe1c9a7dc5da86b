"""Ops by index on no model's way, routing of tokens to experts, quantization, counted tokens."""

import torch
import ttnn
from transformers import DeepseekV3Config, GptOssConfig
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3TopkRouter
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssTopKRouter

from ttnn_verify.numerics import floors, op_floors

from .entries import case, entry, given
from .layouts import U16
from .movement import BF16, FP32, I32, ROWS, TILE, U32
from .opinfo import Refused, plain

X = ttnn.experimental

# --- by index ------------------------------------------------------------------------------------


def numbers(*shape, high, dtype=U32, layout=ROWS):
    return given(lambda: torch.randint(0, high, shape, dtype=torch.int32), dtype, layout)


def different(*shape, high, layout=ROWS):
    """Indices of which no two of a row are the same."""
    count = shape[-1]
    return given(lambda: torch.rand(*shape[:-1], high).argsort(-1)[..., :count].int(), U32, layout)


def of_rows(*shape, dtype=BF16):
    return given(lambda: plain(*shape), dtype, ROWS)


def with_bits(found):
    """All bits of uint32 where it is so."""
    return torch.where(found, 2**32 - 1, 0)


def parts_replaced(places, x, source):
    x = x.clone()
    x[places.flatten()] = source
    return x


def count_and_places(x):
    count, places = ttnn.nonzero(x)
    wanted = x.shape[-1] // 2 * 4  # the rest is as memory was
    return ttnn.slice(count, [0] * 4, [1, 1, 1, 1]), ttnn.slice(places, [0] * 4, [1, 1, 1, wanted])


def nonzero_golden(x):
    places = torch.nonzero(x)
    return torch.tensor(len(places)).reshape(1, 1, 1, 1), places.reshape(1, 1, 1, -1)


def half_zero(width):
    """As many zeros as other numbers, in any order."""
    return given(lambda: (torch.randperm(width) % 2).int().reshape(1, 1, 1, -1), U32, ROWS)


def rows_scattered(x, index, source):
    return x.scatter(1, index[..., None].expand_as(source), source)


BY_INDEX = [
    entry(
        "isin",
        X.isin,
        lambda x, among: with_bits(torch.isin(x, among)),
        (
            case(numbers(64, high=9, dtype=I32), numbers(4, high=9, dtype=I32), result=U32),
            case(numbers(100, high=50), numbers(30, high=50)),
        ),
        (case(numbers(4096, high=900), numbers(300, high=900)),),
    ),
    entry(
        "nonzero",
        count_and_places,
        nonzero_golden,
        (case(half_zero(8)), case(half_zero(96))),
        (case(half_zero(512)),),
    ),
    entry(
        "index_fill",
        lambda x, index, *, dim: ttnn.index_fill(x, dim, index, 2.0),
        lambda x, index, *, dim: x.index_fill(dim, index, 2.0),
        (
            case(of_rows(4, 64), different(2, high=4), dim=0),
            case(of_rows(2, 5, 64, dtype=FP32), different(3, high=5), dim=1),
        ),
        (case(of_rows(128, 768), different(40, high=128), dim=0),),
        refused=Refused(
            "torch",
            lambda device: ttnn.index_fill(plain(4, 64), 0, torch.zeros(1), 2.0),
            "incompatible",
        ),
    ),
    entry(
        "indexed_fill",
        lambda places, x, source: ttnn.indexed_fill(places, x, source),
        parts_replaced,
        (
            case(
                different(1, 1, 1, 2, high=4),
                of_rows(4, 1, 32, 32),
                of_rows(2, 1, 32, 32),
                result=BF16,
            ),
            case(
                different(1, 1, 1, 3, high=5),
                of_rows(5, 2, 32, 64),
                of_rows(3, 2, 32, 64),
                result=BF16,
            ),
        ),
        (
            case(
                different(1, 1, 1, 8, high=32),
                of_rows(32, 1, 32, 256),
                of_rows(8, 1, 32, 256),
                result=BF16,
            ),
        ),
    ),
    entry(
        "scatter_add",
        lambda x, index, source, *, dim: ttnn.scatter_add(x, dim, index, source),
        lambda x, index, source, *, dim: x.scatter_add(dim, index, source),
        (
            case(of_rows(32, 64), different(32, 8, high=64), of_rows(32, 8), dim=-1),
            case(of_rows(37, 80), different(37, 80, high=80), of_rows(37, 80), dim=-1),
        ),
        (case(of_rows(32, 2048), different(32, 300, high=2048), of_rows(32, 300), dim=-1),),
        lambda golden, *operands, dim: op_floors.output(golden),
    ),
    entry(
        "tosa_gather",
        ttnn.tosa_gather,
        lambda x, index: x.gather(1, index[..., None].expand(-1, -1, x.shape[-1])),
        (
            case((2, 16, 32), numbers(2, 8, high=16, layout=TILE)),
            case((1, 40, 96), numbers(1, 37, high=40, layout=TILE)),
        ),
        (case((2, 256, 768), numbers(2, 64, high=256, layout=TILE)),),
    ),
    entry(
        "tosa_scatter",
        ttnn.tosa_scatter,
        rows_scattered,
        (
            case((2, 16, 32), different(2, 8, high=16, layout=TILE), (2, 8, 32)),
            case((1, 40, 96), different(1, 37, high=40, layout=TILE), (1, 37, 96)),
        ),
        (case((2, 128, 256), different(2, 64, high=128, layout=TILE), (2, 64, 256)),),
    ),
]

# --- experts -------------------------------------------------------------------------------------


def among(count, of):
    """A mask [1, 1, 1, of] that leaves the first `count`."""
    return given(lambda: torch.where(torch.arange(of) < count, 0.0, -torch.inf)[None, None, None])


def scored(tokens, experts, allowed, chosen):
    operands = ((1, 1, tokens, experts), among(allowed, experts), among(chosen, 32))
    return case(*operands, note=f"{chosen}-of-{allowed}")


def share_of_first(x, mask, top):
    """What a mixture of experts weighs the first expert with: softmax of the chosen scores."""
    values, places = (x + mask).topk(32, -1)
    return torch.where(places == 0, (values + top).softmax(-1), 0.0).sum(-1, keepdim=True)


def share_floor(golden, x, mask, top):
    """One of a row's approximate exponentials stands alone."""
    off = op_floors.VECTOR_RELATIVE["exp_approximate"]
    values = (x + mask).topk(32, -1).values + top
    own = floors.chain(op_floors.softmax(values), op_floors.output(golden))
    return floors.chain(own, floors.Floor(off, off))


def mapped_to(experts):
    """All experts are on the only chip."""
    return given(lambda: torch.ones(1, 1, experts, 1, dtype=torch.int32), U16, ROWS)


def routed(tokens, experts, each):
    chosen = (1, 1, tokens, each)
    return case(
        given(lambda: plain(1, 1, tokens, experts), layout=ROWS),
        mapped_to(experts),
        given(lambda: torch.rand(*chosen[:-1], experts).argsort(-1)[..., :each].int(), U16, ROWS),
        note=f"{each}-of-{experts}",
    )


def remapped(weights, mapping, chosen):
    taken = torch.zeros_like(weights).scatter(-1, chosen, 1)
    return torch.where(taken != 0, weights, 0.0)


def sparse_weights(experts, used):
    def make():
        weights = torch.zeros(1, experts)
        weights[0, torch.randperm(experts)[:used]] = torch.rand(used) + 0.5
        return weights

    return given(make, layout=ROWS)


def gate_scores(tokens):
    """[1, 1, S, 256] of 8 groups, three experts in each that count, none near another's score."""

    def make():
        base = torch.rand(tokens, 8).argsort(-1)[..., None] / 16
        counted = base + torch.arange(3) / 2
        groups = torch.nn.functional.pad(counted, (0, 29), value=-6.0)
        return groups.flatten(1)[None, None]

    return given(make)


def gated_tokens(tokens):
    return case(gate_scores(tokens), given(lambda: torch.zeros(1, 1, tokens, 256)))


def gate_golden(x, bias):
    """DeepSeek's router of scores: an identity matrix makes them of the hidden states."""
    config = DeepseekV3Config(
        hidden_size=256, n_routed_experts=256, n_group=8, topk_group=4, num_experts_per_tok=8
    )
    config.routed_scaling_factor = 1.0
    router = DeepseekV3TopkRouter(config)
    router.weight.data = torch.eye(256)
    weights = router(x.float())[1].sort(-1, descending=True).values
    return weights.double().detach().reshape(*x.shape[:-1], 8)


def gate_floor(golden, x, bias):
    """A sigmoid, a sum and a quotient."""
    return floors.chain(
        op_floors.vector(golden, "bfloat16", "sigmoid"), *[op_floors.output(golden)] * 3
    )


def scored_by(tokens, hidden, experts):
    operands = ((tokens, hidden), given(lambda: plain(hidden, experts) * hidden**-0.5))
    return case(*operands, given(lambda: plain(1, experts).expand(32, -1)), note=f"{experts}")


def router_golden(x, weight, bias):
    router = GptOssTopKRouter(
        GptOssConfig(
            num_experts_per_tok=4, num_local_experts=weight.shape[1], hidden_size=len(weight)
        )
    ).double()
    router.weight.data, router.bias.data = weight.T, bias[0]
    return router(x)[1].detach()


def router_floor(golden, x, weight, bias):
    """What scores that were rounded to bfloat16 make of a softmax, beside its own roundings."""
    scores = (x @ weight + bias[0]).topk(4, -1).values
    kept = scores.bfloat16().double().softmax(-1)
    own = op_floors.softmax(scores)
    return floors.chain(op_floors.between(golden, kept), own, op_floors.output(golden))


EXPERTS = [
    entry(
        "deepseek_grouped_gate",
        lambda x, bias: ttnn.sort(X.deepseek_grouped_gate(x, bias)[0], -1, True)[0],
        gate_golden,
        (gated_tokens(32), gated_tokens(64)),
        (gated_tokens(128),),
        gate_floor,
    ),
    entry(
        "topk_router_gpt",
        lambda x, weight, bias: X.topk_router_gpt(
            x, weight_tensor=weight, bias_tensor=bias, k=4, num_experts=weight.shape[1]
        )[1],
        router_golden,
        (scored_by(32, 256, 128), scored_by(32, 512, 128)),
        (scored_by(32, 2880, 128),),
        router_floor,
    ),
    entry(
        "moe",
        lambda x, mask, top: ttnn.moe(x, mask, top, 32),
        share_of_first,
        (scored(32, 64, 8, 2), scored(64, 128, 100, 4)),
        (scored(128, 256, 64, 8),),
        share_floor,
    ),
    entry(
        "moe_routing_remap",
        lambda x, *, used: ttnn.moe_routing_remap(x, used, 1, 0),
        lambda x, *, used: x,
        (
            case(sparse_weights(16, 2), used=2, note="2-used"),
            case(sparse_weights(64, 8), used=8, note="8-used"),
        ),
        (case(sparse_weights(256, 8), used=8, note="8-used"),),
    ),
    entry(
        "moe_expert_token_remap",
        lambda *operands: ttnn.moe_expert_token_remap(*operands)[0],
        remapped,
        (routed(32, 8, 2), routed(64, 16, 4)),
        (routed(128, 64, 8),),
    ),
]

# --- quantization --------------------------------------------------------------------------------


def steps_of(*shape):
    """Numbers between the steps of a scale of 1/4, none of them near the middle."""
    return given(lambda: torch.randint(-100, 100, shape) / 4 + 0.05, FP32)


def integers(*shape):
    return given(lambda: torch.randint(-60, 60, shape).int(), I32)


def quantized(x):
    steps = torch.quantize_per_tensor(x, 0.25, 3, torch.qint8)
    return steps.int_repr().long()


def quantize_again(x):
    """From steps of 1/4 about 3 to steps of 1/2 about 1; even numbers, so that none is between."""
    return torch.quantize_per_tensor((2 * x.float() - 3) / 4, 0.5, 1, torch.qint8).int_repr().long()


QUANTIZED = [
    entry(
        "quantize",
        lambda x: ttnn.quantize(x, 0.25, 3),
        quantized,
        (case(steps_of(32, 64), result=I32), case(steps_of(1, 2, 37, 80), result=I32)),
        (case(steps_of(1, 1, 128, 768), result=I32),),
    ),
    entry(
        "dequantize",
        lambda x: ttnn.dequantize(x, 0.25, 3, dtype=FP32),
        lambda x: ((x - 3) / 4).float(),
        (case(integers(32, 64), result=FP32), case(integers(1, 2, 37, 80), result=FP32)),
        (case(integers(1, 1, 128, 768), result=FP32),),
    ),
    entry(
        "requantize",
        lambda x: ttnn.requantize(ttnn.add(ttnn.multiply(x, 2), 1), 0.25, 3, 0.5, 1),
        lambda x: x,
        (case(integers(32, 64)), case(integers(1, 2, 37, 80))),
        (case(integers(1, 1, 128, 768)),),
        refused=Refused(
            "torch", lambda device: ttnn.requantize(plain(32, 32), 0.25, 3, 0.5, 1), "incompatible"
        ),
    ),
]

OPS = [*BY_INDEX, *EXPERTS, *QUANTIZED]
