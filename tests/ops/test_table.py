"""The table itself: complete, its ids unique and readable, no case that is the same as another."""

import re

import pytest

from .table import OPS, calls

ID = re.compile(
    r"[a-z_]+"  # op
    r"-(bf16|fp32|bfp8|bfp4|u16|u32|i32)"
    r"-\d+(x\d+)*"  # shape
    r"-(dram|l1|height|width|block)"
    r"(-[a-z0-9_.x-]+)?"  # what is particular
)

NEEDED = [
    "embedding",
    "linear",
    "matmul",
    "add",
    "subtract",
    "multiply",
    "silu",
    "gelu",
    "relu",
    "exp",
    "rsqrt",
    "reciprocal",
    "rms_norm",
    "softmax",
    "rotary_embedding",
    "rotary_embedding_token",
    "rotary_embedding_llama",
    "rotary_embedding_llama_decode",
    "nlp_create_qkv_heads",
    "nlp_create_qkv_heads_decode",
    "nlp_concat_heads",
    "nlp_concat_heads_decode",
    "scaled_dot_product_attention",
    "scaled_dot_product_attention_decode",
    "fill_cache",
    "paged_update_cache",
    "paged_update_cache_table",
    "paged_fill_cache",
    "slice",
    "concat",
    "transpose",
    "permute",
    "reshape",
    "pad",
    "typecast",
    "to_layout",
    "tilize",
    "untilize",
    "tilize_with_val_padding",
    "untilize_with_unpadding",
    "to_memory_config",
    "interleaved_to_sharded",
    "sharded_to_interleaved",
]


def test_ids_are_readable_and_none_stands_for_two_calls():
    ids = [f"{op.name}-{sample.id}" for op, sample in calls("samples") + calls("references")]
    assert [id for id in ids if not ID.fullmatch(id)] == []
    assert sorted({id for id in ids if ids.count(id) > 1}) == []


@pytest.mark.parametrize("op", OPS.values(), ids=lambda op: op.name)
def test_every_op_has_sample_reference_and_error_inputs(op):
    assert op.samples and op.references and op.errors


def test_every_op_on_the_models_way_is_there():
    assert [name for name in NEEDED if name not in OPS] == []
