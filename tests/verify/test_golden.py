"""Goldens: Hugging Face's values, stored once, rebuilt when in doubt, shared by processes."""

import concurrent.futures
import stat
import threading

import pytest
import safetensors.torch
import torch

from tests.support.small_model import IDS, small_model
from ttnn_verify.drift import reuse
from ttnn_verify.huggingface import golden, submodules

NEW_TOKENS = 4


@pytest.fixture
def hf_model():
    return small_model()


@pytest.fixture
def captures(monkeypatch):
    """How often Hugging Face was run."""
    calls, capture = [], golden.capture

    def counting_capture(*args, **kwargs):
        calls.append(args)
        return capture(*args, **kwargs)

    monkeypatch.setattr(golden, "capture", counting_capture)
    return calls


def load(hf_model, folder, **kwargs):
    return golden.load(hf_model, IDS, folder, NEW_TOKENS, **kwargs)


def stored(folder):
    (path,) = folder.glob("*.safetensors")
    return path


def equal_goldens(a, b):
    return (
        a.values.keys() == b.values.keys()
        and all(torch.equal(a.values[name], b.values[name]) for name in a.values)
        and all(torch.equal(getattr(a, n), getattr(b, n)) for n in ("tokens", "greedy", "top5"))
    )


# --- what is captured ----------------------------------------------------------------------------


def test_values_have_the_shapes_that_are_listed(hf_model):
    values = submodules.values(hf_model, IDS)
    assert {n: tuple(v.shape) for n, v in values.items()} == submodules.shapes(hf_model.config, 5)
    assert all(v.dtype == torch.float32 for v in values.values())


def test_values_are_those_of_hugging_faces_own_pass(hf_model):
    values = submodules.values(hf_model, IDS)
    with torch.no_grad():
        out = hf_model(IDS, output_hidden_states=True)
        layer = hf_model.model.layers[1]
        normed = layer.input_layernorm(out.hidden_states[1])
        qkv = layer.self_attn.qkv_proj(normed)
        gate, up = values["layers.1.gate_up"].chunk(2, -1)
    assert torch.equal(values["logits"], out.logits)
    assert torch.equal(values["layers.1.input"], out.hidden_states[1])
    assert torch.equal(values["layers.0.output"], out.hidden_states[1])
    assert torch.equal(values["layers.1.qkv"], qkv)
    assert torch.equal(values["layers.1.v"].transpose(1, 2).flatten(2), qkv[..., -16:])
    assert torch.equal(values["layers.1.k_unrotated"].transpose(1, 2).flatten(2), qkv[..., 32:48])
    torch.testing.assert_close(values["layers.1.product"], torch.nn.functional.silu(gate) * up)
    torch.testing.assert_close(
        values["layers.1.residual"], values["layers.1.input"] + values["layers.1.o_proj"]
    )
    q, k, v = (values[f"layers.1.{n}"] for n in "qkv")
    attended = torch.nn.functional.scaled_dot_product_attention(
        q, k, v, is_causal=True, enable_gqa=True
    )
    torch.testing.assert_close(values["layers.1.attention"], attended.transpose(1, 2).flatten(2))


def test_rotation_lies_between_unrotated_and_rotated(hf_model):
    values = submodules.values(hf_model, IDS)
    q, cos, sin = values["layers.2.q_unrotated"], values["cos"], values["sin"]
    turned = torch.cat((-q[..., 4:], q[..., :4]), -1)
    torch.testing.assert_close(values["layers.2.q"], q * cos[:, None] + turned * sin[:, None])


def test_the_model_is_left_as_it_was(hf_model):
    with torch.no_grad():
        before = hf_model(IDS).logits
        submodules.values(hf_model, IDS)
        assert torch.equal(hf_model(IDS).logits, before)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in hf_model.modules())


def test_greedy_tokens_and_their_rivals(hf_model):
    captured = golden.capture(hf_model, IDS, NEW_TOKENS)
    written = hf_model.generate(IDS, max_new_tokens=4, min_new_tokens=4, do_sample=False)[0, 5:]
    assert torch.equal(captured.greedy, written)
    assert torch.equal(captured.top5[:, 0], captured.greedy)
    with torch.no_grad():
        logits = hf_model(torch.cat((IDS[0], written))[None]).logits[0, 4:-1]
    logits[:, 2] = -torch.inf  # the end of text could not be chosen
    assert torch.equal(captured.top5, logits.topk(5).indices)


@pytest.mark.parametrize("tied", [False, True])
def test_a_streamed_model_computes_the_same_bits(tied):
    """With the weights of one module at a time, and none afterwards."""
    model = small_model(tie_word_embeddings=tied)
    streamed = submodules.streamed(model.config, model.state_dict())
    actual, expected = (submodules.values(model, IDS) for model in (streamed, model))
    assert all(torch.equal(actual[name], expected[name]) for name in expected)
    assert all(p.device.type == "meta" for p in streamed.parameters())


def test_a_streamed_model_asks_for_each_weight_once():
    model, names = small_model(), []

    class Spy(dict):
        def __getitem__(self, name):
            names.append(name)
            return super().__getitem__(name)

    submodules.values(submodules.streamed(model.config, Spy(model.state_dict())), IDS)
    assert sorted(names) == sorted(model.state_dict())


def test_a_streamed_model_has_a_capture_and_no_stored_golden(tmp_path):
    """It has no weights that could be hashed."""
    model = small_model()
    streamed = submodules.streamed(model.config, model.state_dict())
    assert equal_goldens(golden.capture(streamed, IDS), golden.capture(model, IDS))
    with pytest.raises(ValueError, match="meta device"):
        golden.load(streamed, IDS, tmp_path)


@pytest.mark.parametrize("ids", [torch.ones(2, 3), torch.ones(4), torch.ones(1, 0)])
def test_only_one_sequence_with_tokens(hf_model, ids, tmp_path):
    with pytest.raises(ValueError, match="one sequence"):
        golden.load(hf_model, ids.long(), tmp_path)


def test_only_a_phi3(tmp_path):
    with pytest.raises(TypeError, match="Linear"):
        golden.load(torch.nn.Linear(2, 2), IDS, tmp_path)


# --- what is stored ------------------------------------------------------------------------------


def test_a_second_load_runs_nothing_and_gives_the_same(hf_model, tmp_path, captures):
    first, second = load(hf_model, tmp_path), load(hf_model, tmp_path)
    assert len(captures) == 1
    assert equal_goldens(first, second)


def change_weights(hf_model):
    with torch.no_grad():
        hf_model.model.layers[2].mlp.down_proj.weight[0, 0] += 1e-6


CHANGES = {
    "a weight": change_weights,
    "a configuration": lambda m: setattr(m.config, "rms_norm_eps", 1e-4),
    "a dtype": lambda m: m.bfloat16(),
    "an attention": lambda m: m.set_attn_implementation("sdpa"),
    "an end of text": lambda m: setattr(m.generation_config, "eos_token_id", 3),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_content_is_another_golden(change, hf_model, tmp_path, captures):
    load(hf_model, tmp_path)
    CHANGES[change](hf_model)
    load(hf_model, tmp_path)
    assert len(captures) == 2
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


def test_other_tokens_and_versions_are_other_goldens(hf_model, tmp_path, captures, monkeypatch):
    load(hf_model, tmp_path)
    golden.load(hf_model, IDS.flip(1), tmp_path, NEW_TOKENS)
    golden.load(hf_model, IDS, tmp_path, NEW_TOKENS + 1)
    monkeypatch.setattr(golden.transformers, "__version__", "0.0")
    load(hf_model, tmp_path)
    assert len(captures) == 4


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def empty(path):
    path.write_bytes(b"")


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)


def text(path):
    path.write_text("not a golden at all, but long enough to be one")


def foreign(path):
    safetensors.torch.save_file({"w": torch.zeros(2)}, path)


def altered(path, tensors=None, **metadata):
    """The file again, whole and consistent, with other tensors or metadata."""
    with safetensors.safe_open(path, framework="pt") as file:
        names = file.keys()
        contents = {name: file.get_tensor(name) for name in names} | (tensors or {})
        described = file.metadata() | metadata
    safetensors.torch.save_file(
        contents, path, described | {"checksum": golden._checksum(contents)}
    )


DAMAGE = {
    "truncated": truncate,
    "empty": empty,
    "a bit": flip_a_bit,
    "text": text,
    "foreign": foreign,
    "another key": lambda path: altered(path, key="0" * 64),
    "another shape": lambda path: altered(path, {"value.norm": torch.zeros(1, 4, 32)}),
    "another dtype": lambda path: altered(path, {"value.norm": torch.zeros(1, 5, 32).half()}),
    "one more": lambda path: altered(path, {"value.layers.9.output": torch.zeros(1)}),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_rebuilt_and_said_so(damage, hf_model, tmp_path, captures, caplog):
    first = load(hf_model, tmp_path)
    DAMAGE[damage](stored(tmp_path))
    assert equal_goldens(load(hf_model, tmp_path), first)
    assert len(captures) == 2
    assert "rebuilt" in caplog.text
    load(hf_model, tmp_path)
    assert len(captures) == 2


def test_the_log_names_the_first_tensor_that_differs(hf_model, tmp_path, caplog):
    load(hf_model, tmp_path)
    altered(stored(tmp_path), {"value.norm": torch.zeros(1, 4, 32), "value.other": torch.zeros(1)})
    load(hf_model, tmp_path)
    assert (
        "tensor 'value.norm' has shape (1, 4, 32), expected (1, 5, 32); 2 tensors differ"
        in caplog.text
    )


def test_a_writer_that_dies_leaves_nothing_that_is_believed(
    hf_model, tmp_path, captures, monkeypatch
):
    def half(tensors, path, metadata):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(golden.safetensors.torch, "save_file", half)
        with pytest.raises(KeyboardInterrupt):
            load(hf_model, tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))
    assert not list(tmp_path.glob("*partial*"))
    load(hf_model, tmp_path)
    assert len(captures) == 2


def test_a_folder_that_cannot_be_written_costs_the_cache_alone(hf_model, tmp_path, caplog):
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    assert equal_goldens(
        load(hf_model, blocked / "goldens"), golden.capture(hf_model, IDS, NEW_TOKENS)
    )
    assert "the golden cannot be stored" in caplog.text


def test_the_default_folder(monkeypatch, tmp_path):
    monkeypatch.delenv(golden.FOLDER_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert golden.default_folder() == tmp_path / "phi3-goldens"
    monkeypatch.setenv(golden.FOLDER_VARIABLE, str(tmp_path / "own"))
    assert golden.default_folder() == tmp_path / "own"


def test_an_empty_name_is_not_the_current_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.setenv(golden.FOLDER_VARIABLE, "")
    assert golden.default_folder() == tmp_path / "caches" / "phi3-goldens"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert golden.default_folder() == tmp_path / "home" / ".cache" / "phi3-goldens"


def test_the_folder_that_is_made_is_for_this_user_alone(monkeypatch, tmp_path):
    monkeypatch.delenv(golden.FOLDER_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert stat.S_IMODE(golden.default_folder().stat().st_mode) == 0o700


@pytest.mark.parametrize("named", [False, True])
def test_where_others_may_write_nothing_is_kept(named, monkeypatch, tmp_path, hf_model, caplog):
    folder = tmp_path / "phi3-goldens"
    folder.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv(golden.FOLDER_VARIABLE, str(folder) if named else "")
    load(hf_model, None)
    planted = list(folder.iterdir())
    folder.chmod(0o777)
    assert golden.default_folder() is None
    assert f"may write in {folder}" in caplog.text
    assert equal_goldens(load(hf_model, None), golden.capture(hf_model, IDS, NEW_TOKENS))
    with reuse.opened() as kept:
        assert kept.verdicts.stored.put(b"key", b"content") is None
    with reuse.opened() as kept:
        assert kept.verdicts.stored.get(b"key") is None
    assert list(folder.iterdir()) == planted


def test_a_folder_that_is_named_may_be_a_groups(monkeypatch, tmp_path):
    tmp_path.chmod(0o775)
    monkeypatch.setenv(golden.FOLDER_VARIABLE, str(tmp_path))
    assert golden.default_folder() == tmp_path


def test_of_two_at_once_one_captures_and_both_have_it(hf_model, tmp_path, captures, monkeypatch):
    """Each has a lock file of its own open, as two processes have."""
    never, capture = threading.Event(), golden.capture

    def waiting(*args):
        never.wait(0.3)
        return capture(*args)

    monkeypatch.setattr(golden, "capture", waiting)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: load(hf_model, tmp_path), range(2))
    assert len(captures) == 1
    assert equal_goldens(first, second)
