"""Teacher forcing: the reference, what counts as agreement, the model's inputs."""

import dataclasses
import types

import pytest
import torch
from transformers import Phi3Config, Phi3ForCausalLM

from tests.support.small_model import Along
from ttnn_verify.huggingface import accuracy

PROMPT = torch.tensor([[5, 6, 7, 8]])
END = 2


@pytest.fixture(scope="module")
def hf_model():
    torch.manual_seed(0)
    config = Phi3Config(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        initializer_range=0.5,  # else all tokens are about as likely
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=END,
    )
    return Phi3ForCausalLM(config).eval()


@pytest.fixture(scope="module")
def reference(hf_model):
    return accuracy.reference(hf_model, PROMPT, 12)


class Spy(torch.nn.Module):
    """Passes calls on to a model, remembers the inputs, and may change the logits."""

    def __init__(self, model, change=lambda logits: logits):
        super().__init__()
        self.model, self.change, self.fed = model, change, []

    def forward(self, input_ids, past_key_values=None, use_cache=True):
        self.fed.append(input_ids[0].tolist())
        out = self.model(input_ids=input_ids, past_key_values=past_key_values, use_cache=use_cache)
        return types.SimpleNamespace(
            logits=self.change(out.logits), past_key_values=out.past_key_values
        )


def likes(token):
    """Logits that prefer one token in every step."""

    def change(logits):
        logits = logits.clone()
        logits[..., token] = 1e4
        return logits

    return change


def test_reference_is_what_generate_writes(hf_model, reference):
    written = hf_model.generate(PROMPT, do_sample=False, max_new_tokens=12, min_new_tokens=12)
    assert reference.tokens.tolist() == written[0, 4:].tolist()


def test_reference_logits_are_those_of_one_pass_over_the_text(hf_model, reference):
    text = torch.cat([PROMPT[0], reference.tokens])[None, :-1]
    with torch.no_grad():
        expected = hf_model(text).logits[0, 3:]
    torch.testing.assert_close(reference.logits, expected, rtol=1e-4, atol=1e-4)


def test_end_of_text_stops_the_reference_only_after_the_minimum(hf_model):
    stubborn = Phi3ForCausalLM(hf_model.config).eval()
    with torch.no_grad():
        stubborn.lm_head.weight[END] = 0
        normal = stubborn(PROMPT, output_hidden_states=True).hidden_states[-1][0, -1]
        stubborn.lm_head.weight[END] = 100 * normal  # end of text, at once
    assert accuracy.reference(stubborn, PROMPT, 12, min_new_tokens=0).tokens.tolist() == [END]
    longer = accuracy.reference(stubborn, PROMPT, 12)
    assert len(longer.tokens) == 12
    assert END not in longer.tokens
    # the same model under the same rule agrees, although its greatest logit is end of text
    assert longer.logits[0].argmax() == END
    assert accuracy.score(stubborn, longer).top1 == 1


@pytest.mark.parametrize("prefill_decode", [False, True])
def test_a_model_agrees_with_itself(hf_model, reference, prefill_decode):
    score = accuracy.score(hf_model, reference, prefill_decode)
    assert score.top1 == score.top5 == 1
    assert score.pcc > 0.999999
    assert score.pcc_steps.min() > 0.999999
    assert score.kl_steps.abs().max() < 1e-6
    assert not score.nonfinite


def test_the_model_is_fed_the_reference_whatever_it_says(hf_model, reference):
    spy = Spy(hf_model, likes(9))
    accuracy.score(spy, reference)
    assert spy.fed == [PROMPT[0].tolist(), *([t] for t in reference.tokens[:-1].tolist())]


def test_prefill_decode_feeds_the_prompt_token_by_token(hf_model, reference):
    spy = Spy(hf_model)
    accuracy.score(spy, reference, prefill_decode=True)
    assert spy.fed[:4] == [[5], [6], [7], [8]]


def test_top5_holds_when_four_others_are_ahead_and_no_longer_at_five(hf_model, reference):
    unused = [t for t in range(3, 64) if t not in reference.tokens.tolist()]
    four = accuracy.score(Spy(hf_model, likes(unused[:4])), reference)
    assert (four.top1, four.top5) == (0, 1)
    five = accuracy.score(Spy(hf_model, likes(unused[:5])), reference)
    assert (five.top1, five.top5) == (0, 0)


def test_a_model_that_says_nan_agrees_in_nothing(hf_model, reference):
    score = accuracy.score(Spy(hf_model, lambda logits: logits * torch.nan), reference)
    assert (score.top1, score.top5) == (0, 0)
    assert score.nonfinite.nan == score.logits.numel()


def test_progress_counts_every_token(hf_model):
    written, read = [], []
    reference = accuracy.reference(hf_model, PROMPT, 6, on_tokens=written.append)
    accuracy.score(hf_model, reference, on_tokens=read.append)
    assert sum(written) == 6
    assert sum(read) == 4 + 5


@pytest.mark.parametrize("shape", [(1, 0), (2, 3), (3,)])
def test_only_one_prompt_with_tokens(hf_model, shape):
    with pytest.raises(ValueError, match="one prompt"):
        accuracy.reference(hf_model, torch.ones(shape, dtype=torch.int64), 4)


def test_top5_of_the_reference_asks_for_the_models_token(hf_model, reference):
    """The other convention: the model's choice among the reference's five."""
    second = reference.choosable.topk(6).indices
    for place, share in ((0, 1), (4, 1), (5, 0)):
        rival = accuracy.score(Along(reference, second[:, place]), reference)
        assert (rival.top1, rival.reference_top5) == (float(place == 0), share)
        assert rival.choices.tolist() == second[:, place].tolist()


def test_a_disagreement_is_a_near_tie_or_a_defect(reference):
    first, second = reference.choosable.topk(2).indices.T
    margins = reference.logits.gather(1, first[:, None]) - reference.logits.gather(
        1, second[:, None]
    )
    tokens = first.clone()
    sure, unsure = int(margins.argmax()), int(margins.argmin())
    tokens[[sure, unsure]] = second[[sure, unsure]]
    score = accuracy.score(Along(reference, tokens), reference)
    assert [d.step for d in score.disagreements] == sorted((sure, unsure))
    assert {d.step: d.margin for d in score.disagreements}[sure] == margins[sure].item()
    assert all(d.rank == 1 for d in score.disagreements)
    scale = reference.logits[sure].square().mean().sqrt().item()
    between = (margins[sure] + margins[unsure]).item() / 2
    assert [d.step for d in score.defects(between / scale / 4 / 2**0.5)] == [sure]
    assert score.defects(100.0) == []
    assert "which the reference prefers by" in str(score.disagreements[0])


def test_a_nan_is_a_defect(hf_model, reference):
    score = accuracy.score(Spy(hf_model, lambda logits: logits * torch.nan), reference)
    assert len(score.disagreements) == 12


def test_a_token_beyond_the_references_first_hundred_is_implausible(reference):
    tokens = reference.tokens.clone()
    padded = torch.nn.functional.pad(reference.logits, (0, 64), value=-100.0)
    wider = dataclasses.replace(reference, logits=padded)
    assert accuracy.score(Along(wider, tokens), wider).implausible == []
    tokens[3] = 127  # equal logits rank by token id
    assert accuracy.score(Along(wider, tokens), wider).implausible == [3]


def test_perplexity_of_a_model_that_knows_nothing_is_the_vocabulary(hf_model, reference):
    score = accuracy.score(Spy(hf_model, lambda logits: logits * 0), reference)
    assert score.perplexity == pytest.approx(64)
    assert accuracy.score(hf_model, reference).perplexity == pytest.approx(reference.perplexity)
    expected = torch.nn.functional.cross_entropy(reference.logits, reference.tokens).exp()
    assert reference.perplexity == pytest.approx(float(expected))


@pytest.mark.parametrize(
    ("share", "steps", "low", "high"),
    [(0.97, 100, 0.9155, 0.9897), (1.0, 100, 0.9630, 1.0), (0.0, 10, 0.0, 0.2775)],
)
def test_wilson_intervals_of_the_literature(share, steps, low, high):
    assert accuracy.wilson(share, steps) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(("share", "steps"), [(1.2, 10), (-0.1, 10), (0.5, 0)])
def test_no_interval_of_what_is_no_share(share, steps):
    with pytest.raises(ValueError, match="share"):
        accuracy.wilson(share, steps)
