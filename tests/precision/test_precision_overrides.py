"""What an override computes is what a model computes that is built so."""

import json

import pytest
import torch

from model.optimized import build_model
from tests.bringups import bringup_table
from ttnn_verify.precision import measuring, sites, texts
from ttnn_verify.precision.configuration import Place, PlaceSetting, as_json
from ttnn_verify.precision.overrides import Overrides, Unused

POSITIONS = 64


def whole(found):
    """A setting for each site, another for each kind and layer."""
    formats = ("bfloat8_b", "bfloat4_b")
    result = {}
    for number, site in enumerate(found.sites):
        if site.kind == "product":
            result[site.place] = PlaceSetting(formats[number % 2], "HiFi2", number % 3 != 0)
        elif site.kind == sites.CACHE:
            result[site.place] = PlaceSetting(formats[(site.place.layer or 0) % 2])
        elif site.kind == "attention":
            result[site.place] = PlaceSetting(None, "HiFi2", False, False)
    return result


def test_a_model_that_is_built_so_has_the_same_bits(tiny, device, session, tmp_path):
    hf_model, ids = tiny
    text = texts.written(hf_model, ids, count=2, length=43, seed=1)
    model = build_model(hf_model, device, POSITIONS)
    found = sites.find(model, hf_model, ids, session)
    parts = {"qkv", "o_proj", "gate", "up", "down"}
    assert {site.place for site in found.of_kind("product")} == {
        *(Place(layer, part) for layer in range(4) for part in parts),
        Place(None, "logits"),
    }
    configuration = whole(found)
    unchanged = measuring.measure(model, text)
    with Overrides(found.sites).applied(configuration):
        overridden = measuring.measure(model, text)
    assert measuring.measure(model, text).digest == unchanged.digest
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"settings": as_json(configuration)}))
    built = measuring.measure(build_model(hf_model, device, POSITIONS, precision=path), text)
    assert built.digest == overridden.digest
    assert built.digest != unchanged.digest


@pytest.mark.parametrize("row", bringup_table.ROWS, ids=lambda row: row.name)
def test_bringups_of_others_have_products_to_choose_for(row, device, session):
    hf_model = bringup_table.hf_model(row)
    ids = torch.randint(3, row.config().vocab_size, (1, 40), generator=torch.Generator())
    text = texts.written(hf_model, ids, count=1, length=24, seed=0)
    model = row.load().build_model(hf_model, device, 96)
    found = sites.find(model, hf_model, ids, session)
    products = found.of_kind("product")
    assert {site.place.layer for site in products} == {0, 1, None}
    assert len(products) >= 7
    coarse = {
        site.place: PlaceSetting("bfloat4_b") for site in products if site.dtype != "bfloat4_b"
    }
    unchanged = measuring.measure(model, text)
    with Overrides(found.sites).applied(coarse):
        overridden = measuring.measure(model, text)
    assert overridden.figures["kl"] > unchanged.figures["kl"]


def test_a_place_without_calls_is_no_success(tiny, device, session):
    hf_model, ids = tiny
    model = build_model(hf_model, device, POSITIONS)
    text = texts.written(hf_model, ids, count=1, length=4, seed=0)
    found = sites.find(model, hf_model, ids[:, :6], session)
    nowhere = {Place(7, "down"): PlaceSetting("bfloat8_b")}
    with (
        pytest.raises(Unused, match="layer 7 down: the model makes no call for it"),
        Overrides(found.sites).applied(nowhere),
    ):
        measuring.measure(model, text)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{}", "settings"),
        ("[1]", "no settings for this model"),
        ('{"settings": [{"layer": 0, "part": "norm", "dtype": "bfloat8_b"}]}', "norm"),
        ('{"settings": [{"layer": 0, "part": "down", "dtype": "bfloat3"}]}', "bfloat3"),
        ("not JSON", "no settings for this model"),
    ],
)
def test_a_file_of_no_settings_is_refused_in_a_sentence(content, said, tiny, device, tmp_path):
    path = tmp_path / "settings.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=said):
        build_model(tiny[0], device, POSITIONS, precision=path)


def test_an_unknown_name_is_refused(tiny, device):
    with pytest.raises(ValueError, match="precision 'fast': it must be 'accuracy', 'performance'"):
        build_model(tiny[0], device, POSITIONS, precision="fast")


def test_prompts_are_the_models_own_by_their_seed(tiny):
    hf_model, ids = tiny
    one, again, other = (texts.written(hf_model, ids, 3, 40, seed) for seed in (0, 0, 1))
    assert torch.equal(one.ids, again.ids)
    assert not torch.equal(one.ids, other.ids)
    assert len(one.ids.unique(dim=0)) == 3
    assert one.logits.shape == (3, 40, hf_model.config.vocab_size)
