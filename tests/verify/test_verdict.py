"""The verdict on a score: a correct model passes by the measured bounds, a faulty one does not.

The models on trial are Hugging Face's own in bfloat16, which is what a device that rounds every
result once computes. Faults are those that bring-ups have.
"""

import copy
import dataclasses
import types

import pytest
import torch

from tests.bringups.bringup_table import ROWS, hf_model
from ttnn_verify.huggingface import accuracy, inputs, verdict

STEPS = 24
ARCHITECTURES = {row.name: row for row in ROWS}
every_architecture = pytest.mark.parametrize("name", ARCHITECTURES)


@pytest.fixture(scope="module")
def references():
    """name -> (Hugging Face's model, its continuations of two prompts), made once."""
    made = {}

    def of(name):
        if name not in made:
            model = hf_model(ARCHITECTURES[name])
            generator = torch.Generator().manual_seed(0)
            prompts = torch.randint(3, model.config.vocab_size, (2, 17), generator=generator)
            made[name] = model, [accuracy.reference(model, ids, STEPS) for ids in prompts.split(1)]
        return made[name]

    return of


def in_bfloat16(model):
    """A copy as from_pretrained makes it: buffers, the frequencies of rotary, stay in float32."""
    model = copy.deepcopy(model)
    for parameter in model.parameters():
        parameter.data = parameter.data.bfloat16()
    return model


def missed(references, model, name="llama", arithmetic="rounded"):
    """The sentences about a model's first row."""
    hf, (reference, _) = references(name)
    bounds = verdict.bounds_of(hf, reference, arithmetic)
    return verdict.failures(accuracy.score(model, reference), bounds)


@every_architecture
def test_a_correct_model_passes(references, name):
    hf, both = references(name)
    for reference, score in zip(both, accuracy.scores(in_bfloat16(hf), both), strict=True):
        assert verdict.failures(score, verdict.bounds_of(hf, reference, "rounded")) == []


@every_architecture
def test_a_reference_in_bfloat16_is_judged_by_its_own_error_too(references, name):
    hf, (reference, _) = references(name)
    rounded = in_bfloat16(hf)
    own = accuracy.reference(rounded, reference.prompt_ids, STEPS)
    bounds = verdict.bounds_of(rounded, own, "rounded")
    assert verdict.failures(accuracy.score(hf, own), bounds) == []
    of_the_pass = verdict.explained(hf, own, verdict.FACTORS["rounded"]).relative_l2
    with_its_own = verdict.explained(rounded, own, verdict.FACTORS["rounded"]).relative_l2
    assert with_its_own == pytest.approx(of_the_pass * (1 + 1 / 4) ** 0.5, rel=1e-3)


def reversed_layers(model):
    model.model.layers = model.model.layers[::-1]


def without_the_last_layer(model):
    model.model.layers = model.model.layers[:-1]


def a_norm_of_ones(model):
    torch.nn.init.ones_(model.model.layers[0].post_attention_layernorm.weight)


def the_norm_of_another_layer(model):
    first, second = model.model.layers[:2]
    second.input_layernorm.weight = first.input_layernorm.weight


def final_norm_twice_as_large(model):
    """PCC does not see it."""
    with torch.no_grad():
        model.model.norm.weight.mul_(2)


FAULTS = [
    reversed_layers,
    without_the_last_layer,
    a_norm_of_ones,
    the_norm_of_another_layer,
    final_norm_twice_as_large,
]


@pytest.mark.parametrize("arithmetic", verdict.FACTORS)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("name", ["llama", "qwen2", "phi3"])
def test_a_faulty_model_fails(references, name, fault, arithmetic):
    model = in_bfloat16(references(name)[0])
    fault(model)
    for number, layer in enumerate(model.model.layers):
        layer.self_attn.layer_idx = number  # else the cache, too, is in another order
    assert missed(references, model, name, arithmetic)


class DecodeScale:
    """A model whose attention has another scale after the prompt."""

    def __init__(self, model, factor):
        self.model, self.factor = model, factor

    def __call__(self, input_ids, past_key_values=None, use_cache=True):
        if past_key_values is None:
            for layer in self.model.model.layers:
                self.scale = layer.self_attn.scaling
        else:
            for layer in self.model.model.layers:
                layer.self_attn.scaling = self.scale * self.factor
        return self.model(input_ids=input_ids, past_key_values=past_key_values, use_cache=True)


@pytest.mark.parametrize("factor", [0.5, 0.8, 2])
@pytest.mark.parametrize("arithmetic", verdict.FACTORS)
def test_a_wrong_scale_of_decode_fails(references, factor, arithmetic):
    model = DecodeScale(in_bfloat16(references("llama")[0]), factor)
    assert missed(references, model, arithmetic=arithmetic)


class FirstRowForAll(torch.nn.Module):
    """A model whose rows all have the logits of row 0."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, past_key_values=None, use_cache=True):
        out = self.model(input_ids=input_ids, past_key_values=past_key_values, use_cache=True)
        return types.SimpleNamespace(
            logits=out.logits[:1].expand(len(input_ids), -1, -1),
            past_key_values=out.past_key_values,
        )


def test_a_fault_in_row_1_alone_is_seen_in_row_1(references):
    hf, both = references("llama")
    scores = accuracy.scores(FirstRowForAll(in_bfloat16(hf)), both)
    first, second = (
        verdict.failures(score, verdict.bounds_of(hf, reference))
        for score, reference in zip(scores, both, strict=True)
    )
    assert first == []
    assert [line.split(" is ")[0] for line in second] == ["top-1", "top-5", "PCC", "KL"]


def test_rows_of_a_batch_are_those_of_one_row_alone(references):
    hf, both = references("llama")
    shorter = dataclasses.replace(both[1], tokens=both[1].tokens[:9], logits=both[1].logits[:9])
    for score, reference in zip(
        accuracy.scores(hf, [both[0], shorter]), (both[0], shorter), strict=True
    ):
        torch.testing.assert_close(score.logits, reference.logits, rtol=1e-4, atol=1e-4)


def test_rows_of_several_lengths_are_refused(references):
    _, both = references("llama")
    shorter = dataclasses.replace(both[1], prompt_ids=both[1].prompt_ids[:, 1:])
    with pytest.raises(ValueError, match=r"prompts of \[16, 17\] tokens"):
        accuracy.scores(None, [both[0], shorter])


def scored(reference, logits):
    return accuracy.Score(reference, logits, 1.0, 1.0)


def test_each_missed_bound_is_a_sentence(references):
    _, (reference, _) = references("llama")
    score = scored(reference, -reference.logits)
    assert verdict.failures(score, verdict.Bounds(0.96, 0.5, 0.9, 0.25)) == [
        "top-1 is 0.00 %, at least 96.00 % is expected",
        "top-5 is 0.00 %, at least 50.00 % is expected",
        "PCC is -1.000000, at least 0.900000 is expected",
        f"KL is {score.kl_steps.mean():.6f} nats, at most 0.250000 nats is expected",
    ]
    assert verdict.failures(score, verdict.Bounds(0.0, 0.0, -1.0, 1e9)) == []


def test_a_sentence_has_the_digits_that_tell_its_figures_apart(references):
    _, (reference, _) = references("llama")
    score = scored(reference, reference.logits)
    assert score.pcc == 1
    (line,) = verdict.failures(score, verdict.Bounds(1, 1, 1 + 2**-40, 0))
    assert line == "PCC is 1.000000000000, at least 1.000000000001 is expected"


@pytest.mark.parametrize(
    ("wrong", "said"), [(torch.nan, "1 NaN, 0 inf"), (torch.inf, "0 NaN, 1 inf")]
)
def test_logits_that_are_not_finite_fail_whatever_the_bounds(references, wrong, said):
    _, (reference, _) = references("llama")
    logits = reference.logits.clone()
    logits[3, 7] = wrong
    (line,) = verdict.failures(scored(reference, logits), verdict.Bounds(0, 0, -1, 1e9))
    assert line == f"the logits are not finite: {said}"


def test_logits_that_are_all_equal_fail_whatever_the_bounds(references):
    _, (reference, _) = references("llama")
    score = scored(reference, torch.ones_like(reference.logits))
    (line,) = verdict.failures(score, verdict.Bounds(0, 0, -1, 1e9))
    assert line == "PCC is undefined, because all logits are equal"


def test_a_reference_that_is_not_finite_judges_nothing(references):
    hf, (reference, _) = references("llama")
    wrong = dataclasses.replace(reference, logits=reference.logits * torch.nan)
    says = "Hugging Face's own logits are not finite, .*: that is the checkpoint's fault"
    with pytest.raises(inputs.Undetermined, match=says):
        verdict.bounds_of(hf, wrong)


# --- the bounds, for a reference whose logits are given -------------------------------------------


def sure(margins, width=50):
    """A reference that prefers token 0 by so much over token 1, and to the rest by 100."""
    logits = torch.full((len(margins), width), -100.0)
    logits[:, 0] = 0
    logits[:, 1] = -torch.tensor(margins)
    tokens = torch.zeros(len(margins), dtype=torch.int64)
    return accuracy.Reference(torch.ones(1, 1), tokens, logits, 0, (), 1.0, 1.0)


def least_top1(margins, error):
    reference = sure(margins)
    relative_l2 = error / float(reference.logits[0].square().mean().sqrt())
    return verdict.bounds_by(verdict.ExplainedError(relative_l2, 1.0), reference).top1


def test_a_margin_beyond_the_error_may_not_turn():
    assert least_top1([9.0] * 40, 1.0) == 1.0


def test_a_near_tie_may_turn():
    assert least_top1([0.0] + [9.0] * 39, 1.0) == 39 / 40


def test_of_many_near_ties_not_all_may_turn():
    """Fifty fair coins: more than 37 heads come once in 10,000 times, more than 38 do not."""
    tails = torch.distributions.Binomial(50, torch.tensor(0.5, dtype=torch.float64))
    more = 1 - tails.log_prob(torch.arange(51.0)).exp().cumsum(0)
    most = int(torch.nonzero(more < verdict.CHANCE)[0])
    assert 35 < most < 40
    assert least_top1([0.0] * 50, 1.0) == (50 - most) / 50


def test_top5_lets_go_of_a_token_only_to_one_from_behind_the_five():
    logits = torch.full((40, 30), -100.0)
    logits[:, :5] = 0
    tokens = torch.zeros(40, dtype=torch.int64)
    reference = accuracy.Reference(torch.ones(1, 1), tokens, logits, 0, (), 1.0, 1.0)
    bounds = verdict.bounds_by(verdict.ExplainedError(0.01, 1.0), reference)
    assert bounds.top1 < 1
    assert bounds.top5 == 1


def test_an_error_as_large_as_the_logits_allows_every_pcc():
    reference = sure([1.0] * 4)
    assert verdict.bounds_by(verdict.ExplainedError(9.0, 1.0), reference).pcc == -1
    assert verdict.bounds_by(verdict.ExplainedError(1e-3, 1.0), reference).pcc > 0.999
