"""What the words of the pages mean: one sentence each, shown on hover and focus, and at the end."""

import markupsafe

TERMS = {
    # figures
    "PCC": "Pearson's correlation of the result with what is expected: 1 is perfect. Blind to "
    "scale and offset, so it never decides.",
    "least PCC": "The smallest PCC of all comparisons; see PCC.",
    "relative L2": "Size of the error over the size of what is expected, in Euclidean norms: 0.01 "
    "is an error of 1 %.",
    "worst row": "The relative L2 error of the row (last dimension) where it is greatest: a single "
    "wrong token shows here.",
    "ULP": "Units in the last place of the result's number format: the greatest error in steps "
    "between neighbouring numbers. Values below the tensor's median magnitude are measured in the "
    "steps of that. A correct rounding errs by 0.5 at most.",
    "noise floor": "The error that number formats and compute configuration force on a correct "
    "implementation, computed for the very inputs.",
    "k": "How many times its noise floor an error may be; 2 unless stated otherwise.",
    "tolerance used": "The error as a share of what is allowed, which is k times the noise floor; "
    "above 100 % it fails. Where it says exact, equal bits are asked for.",
    "L2 to baseline": "Relative L2 error now over that of the baseline: above \u00d71 it "
    "has grown.",
    "baseline": "The last accepted figures of every comparison.",
    # words of precision
    "weights": "Size of the weights of all products, in the formats of the configuration.",
    "caches": "Size of the caches of keys and values, in theirs.",
    "configuration": "What was made coarser than in the model as it is, or why it was tried.",
    "part": "What is made coarser in the layers of a row: the weight of the product of that name, "
    "or the caches of keys and values.",
    "places": "Layers, or what lies outside of them; those of a row change together.",
    "KL": "Kullback-Leibler divergence, in nats, of the model's next token from Hugging Face's: "
    "mean of all positions. 0 is perfect.",
    "top-1": "Share of the positions at which the model's likeliest token is Hugging Face's.",
    "roofline": "The time below which no n150 does the workload of a prompt of 1,024 tokens and "
    "128 after it: memory or arithmetic, whichever takes longer for a product.",
    # words of a run
    "backend": "Where TTNN ran: on a card (silicon), the vendor's simulator, or emulated without "
    "either.",
    "arithmetic": "How the emulated device computes: kernel, step by step as the device's kernels "
    "do, or rounded, in float32 with each result rounded once.",
    "comparisons": "Results that were held against what is expected; a test may make several.",
    "verdict": "ok, or why not: drift (farther off than the arithmetic explains), differs (data "
    "that only moves has changed), shape, dtype, nonfinite (NaN or infinity).",
    "tier": "A level of the pyramid: operations, properties, layers, the whole model.",
    "case": "What was compared, and below it the tier and the test.",
    # words of drift
    "row": "The output of the embedding, of a layer, of the last norm, and the logits.",
    "drift": "An error that formats and arithmetic do not explain.",
    "prompt": "Relative L2 error of the output for the tokens that were given at once, where the "
    "model runs on its own results, so that errors add up.",
    "tokens": "The same for the tokens that were given one at a time.",
    "update": "Relative L2 error of what a layer adds to its input (output minus input), which the "
    "sum of both hides.",
    "gain": "The error of an output over that of the last row before that has one: how much a "
    "layer amplifies.",
    "isolated": "Relative L2 error of a layer's output where the layer is given Hugging Face's own "
    "input: its own error alone. None where that input is not recognised, as after a bad call.",
    "ops": "Operations of the row that were seen, in all calls of the model. One that makes none "
    "of Hugging Face's values counts where the last one was made.",
    "bad": "How many of them are wrong, misused, missing or not what the model returns.",
    "worst op": "The operation of the row that used most of its tolerance, a bad one first.",
    "inputs": "The least PCC of the operands with Hugging Face's values: how surely the call was "
    "recognised.",
    "logits may err by": "The relative L2 error of the logits that the roundings of all layers "
    "explain.",
    "status": "ok, or why not; each status has its words below.",
    "where": "The call of the model: a prompt, or the token at that position, of the first "
    "sequence where no other one is named.",
    "call": "The number of the operation in that call of the model, from 0.",
    "layer": "The layer of Hugging Face's model that the operation belongs to, if to any.",
    "operation": "The operation of TTNN, with the chips where it is bad on some alone.",
    "step": "The part and the value of Hugging Face's model that a call computes, as far as known.",
    "note": "What is known of the cause.",
    "family": "Operations of a kind: products, norms, attention and so on.",
    "share": "By how much of the logits' error it is less, in squares, with the family exact.",
    # statuses of calls
    "ok": "The call's error is one that its arithmetic explains.",
    "wrong": "The result is not what the call's own operands and arguments make of it.",
    "misused": "The call computes rightly, but something else than Hugging Face's step: another "
    "operand, constant or argument.",
    "missing": "No call computes a step of Hugging Face's; shown at the call that needs it.",
    "output": "The model returns something else than its last call computed.",
    "no-golden": "Nobody knows what the call should return, or one of its arguments: not judged, "
    "which is no pass.",
    "tool-error": "The comparison itself failed: not judged, which is no pass.",
}


class Glossary:
    """The terms of one page; it remembers which ones the page has used."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def term(self, word: str, focus: bool = True, shown: str = "") -> markupsafe.Markup:
        """The word with its explanation, which shows on hover, and on focus with the keyboard.

        Args:
            focus: False within a button, which has the focus itself.
            shown: what stands in its place, an example of what the word means.

        Raises:
            KeyError: a word that `TERMS` lacks.
        """
        self._used.add(word)
        reached = markupsafe.Markup(' tabindex="0"') if focus else ""
        return markupsafe.Markup('<abbr title="{}"{}>{}</abbr>').format(
            TERMS[word], reached, shown or word
        )

    def explained(self, word: str, focus: bool = True) -> markupsafe.Markup | str:
        """`term` where the word is one, else the word."""
        return self.term(word, focus) if word in TERMS else word

    def used(self) -> dict[str, str]:
        """The terms so far, in the order of `TERMS`, with what they mean."""
        return {word: says for word, says in TERMS.items() if word in self._used}
