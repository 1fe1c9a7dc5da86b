"""The result of teacher forcing as lines of text: figures, differences, evidence, speed."""

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from ttnn_verify import evaluation, jobs
from ttnn_verify.huggingface import accuracy
from ttnn_verify.report import bases

if TYPE_CHECKING:  # ttnn, which the emulator imports, is slow
    from ttnn_emulator.evidence import Evidence

SHOWN_DIFFERENCES = 5  # steps of another choice that are shown one by one


def lines(plan: evaluation.Plan, bringup: jobs.Bringup, result: evaluation.Result) -> list[str]:
    """The worst row of a bring-up's result. Scripts parse the figures of this text by pattern."""
    row, prompt = result.worst, plan.prompt
    score, reference = row.score, row.score.reference
    mode = ", token by token" if plan.prefill_decode else ""
    return [
        f"Checkpoint:     {prompt.checkpoint.name}",
        f"Backend:        {bringup.described}",
        f"Tokens:         {prompt.length} of prompt{mode}, then {len(reference.tokens)}",
        *_of_rows(result),
        f"Top-1 accuracy: {score.top1:.2%} ({score.top1:.4f})",
        f"Top-5 accuracy: {score.top5:.2%} ({score.top5:.4f})",
        f"95 % intervals: top-1 {interval(score.top1, score)}, top-5 {interval(score.top5, score)}",
        f"In HF's top-5:  {score.reference_top5:.2%}; beyond its first {accuracy.PLAUSIBLE}: "
        + f"{len(score.implausible)} tokens",
        *_logits(row),
        *verdict_lines(plan, result),
        *computed(bringup),
        *evidence(bringup),
        f"{'Tokens/s:' if prompt.batch == 1 else 'Tokens/s a row:':20}prefill      decode",
        f"  Hugging Face {reference.prefill_rate:12.1f}{reference.decode_rate:12.1f}",
        f"  TTNN         {score.prefill_rate:12.1f}{score.decode_rate:12.1f}",
    ]


def _of_rows(result: evaluation.Result) -> list[str]:
    """Which row of a batch is shown."""
    if len(result.rows) == 1:
        return []
    count, failed = len(result.rows), sum(bool(row.failures) for row in result.rows)
    return [f"Rows:           {count}, {failed} failed; the worst one, row {result.worst.number}:"]


def verdict_lines(plan: evaluation.Plan, result: evaluation.Result) -> list[str]:
    """What the worst row had to reach, and whether all rows reach their bounds."""
    bounds = result.worst.bounds

    def told(field: str, text: str) -> str:
        return f"{text} (set)" if field in plan.bounds else text

    parts = [
        told("top1", f"top-1 >= {bounds.top1:.2%}"),
        told("top5", f"top-5 >= {bounds.top5:.2%}"),
        told("pcc", f"PCC >= {bounds.pcc:.6f}"),
        told("kl", f"KL <= {bounds.kl:.6f}"),
    ]
    missed = len(result.failures)
    return [
        f"Bounds:         {', '.join(parts)}",
        f"Verdict:        {f'failed, bounds missed: {missed}' if missed else 'passed'}",
    ]


def _logits(row: evaluation.RowResult) -> list[str]:
    score = row.score
    if score.nonfinite:
        return [f"Logits:         not finite, {score.nonfinite}"]
    pcc, kl = score.pcc_steps, score.kl_steps
    return [
        f"Logits PCC:     {score.pcc:.6f} (least {pcc.min():.6f}, step {int(pcc.argmin())})",
        f"Logits KL:      {kl.mean():.6f} nats (most {kl.max():.6f}, step {int(kl.argmax())})",
        f"Perplexity:     {score.perplexity:.4f}, "
        + f"Hugging Face's {score.reference.perplexity:.4f}",
        *differences(row),
    ]


def differences(row: evaluation.RowResult) -> list[str]:
    """A line for each of the first few steps of another choice: a near-tie, or a defect."""
    steps = row.score.disagreements
    if not steps:
        return []
    defects = row.score.defects(row.explained.relative_l2)
    shown = [
        f"Differs in      {step} ({'a defect' if step in defects else 'a near-tie'})"
        for step in steps[:SHOWN_DIFFERENCES]
    ]
    if len(steps) > SHOWN_DIFFERENCES:
        shown.append(f"                {len(steps)} steps in all, {len(defects)} of them defects")
    return shown


def interval(share: float, score: accuracy.Score) -> str:
    """The 95 % interval of a share of the steps."""
    low, high = accuracy.wilson(share, len(score.logits))
    return f"{low:.1%} to {high:.1%}"


def evidence(bringup: jobs.Bringup) -> list[str]:
    """Evidence for the emulated device's results, by operation and setting; none of others."""
    if bringup.backend != "emulated" or bringup.arithmetic == "rounded":
        return []
    import ttnn_emulator  # slow

    return evidence_lines(ttnn_emulator.found_evidence())


def computed(bringup: jobs.Bringup) -> list[str]:
    """Which emulated operations follow the kernels, in a line; none of another device."""
    basis = bases.of_run(bringup.backend, bringup.arithmetic)
    return [f"Computed:       {basis}"] if basis else []


def evidence_lines(settings: Iterable["Evidence"]) -> list[str]:
    """A line of counts, and one for each operation and setting that no recording covers."""
    by_status: dict[str, list[Evidence]] = {"recorded": [], "derived": [], "approximate": []}
    for entry in settings:
        by_status[entry.status].append(entry)
    counts = [
        f"{_counted({entry.operation for entry in entries}, 'operation')} {status}, "
        f"in {_counted(entries, 'setting')}"
        for status, entries in by_status.items()
        if entries
    ]
    if not counts:
        return []
    shown = [f"Evidence:       {'; '.join(counts)}"]
    for status in ("derived", "approximate"):
        for entry in by_status[status]:
            missed = f", {len(entry.unequal)} recordings not equalled" if entry.unequal else ""
            shown.append(f"  {status:14}{entry}{missed}")
    return shown


def _counted(items: Collection[object], word: str) -> str:
    return f"{len(items)} {word}{'' if len(items) == 1 else 's'}"
