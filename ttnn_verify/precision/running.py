"""The work of a command: the model is built once, and led along the prompts again and again."""

import argparse
import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

import torch
import tqdm

from ttnn_verify import drift, jobs
from ttnn_verify.drift import reuse
from ttnn_verify.drift.progress import Bar
from ttnn_verify.files import stored
from ttnn_verify.huggingface import golden, inputs
from ttnn_verify.precision import ladder, measuring, sites, texts
from ttnn_verify.precision.configuration import CHECKS, Configuration
from ttnn_verify.precision.overrides import Overrides
from ttnn_verify.precision.points import Point, Points
from ttnn_verify.precision.result import PrecisionResult
from ttnn_verify.precision.searching import ALONE, Budget, Search
from ttnn_verify.precision.texts import Text
from ttnn_verify.report import machine

FILE = "precision.sqlite"
DEFAULT = Budget("kl", 1e-3)
REPAIRS = 5  # points that are checked at most where what was chosen misses the budget there


def searched(
    args: argparse.Namespace,
    bringup: jobs.Bringup,
    checkpoint: inputs.HubCheckpoint,
    ids: torch.Tensor,
) -> PrecisionResult:
    """What the command finds.

    Args:
        args: of the command.
        ids: `[1, S]`, what prompts begin with.

    Raises:
        BudgetMissed: the model as it is misses the budget.
        jobs.Undetermined: no call of the model is matched, or Hugging Face's model fails.
    """
    hf_model = checkpoint.hf_model(torch.float32)
    hf_model.set_attn_implementation("eager")
    count = args.prompts * (1 + CHECKS)
    with jobs.hugging_face_runs():
        text = texts.written(hf_model, ids, count, args.prompt_tokens, args.seed)
    jobs.check_reference(text.logits)
    seen, unseen = text.part(slice(args.prompts)), text.part(slice(args.prompts, None))
    with (
        bringup.open_device() as device,
        jobs.model_runs("the model"),
        _kept(args.no_reuse) as kept,
        reuse.opened() if not args.no_reuse else contextlib.nullcontext() as earlier,
    ):
        model = bringup.build(hf_model, device)
        with contextlib.closing(Bar()) as bar:
            session = drift.Session(kept=earlier, progress=bar)
            found = sites.find(model, hf_model, ids, session)
        _check_sites(found)
        runs = _Runs(model, found, kept)
        with tqdm.tqdm(
            desc="evaluations", total=args.evaluations, disable=None, leave=False
        ) as evaluations:
            result = _result(args, runs, seen, unseen, evaluations)
    about = {
        "model file": args.model_py,
        "checkpoint": checkpoint.name,
        "backend": bringup.described,
        "prompts": f"{args.prompts} of {args.prompt_tokens} tokens, seed {args.seed}; "
        f"{count - args.prompts} for the check",
        "date": machine.now(),
    }
    return dataclasses.replace(result, about=about | machine.versions())


def _check_sites(found: sites.Sites) -> None:
    """Raises Undetermined without a product that is matched."""
    if not found.of_kind("product"):
        some = f", {found.unmatched[0]} among them" if found.unmatched else ""
        raise jobs.Undetermined(
            "no product of the model makes a value that Hugging Face's model makes"
            f"{some}: there is nothing whose precision could be named."
        )


class _Runs:
    """A model that is led along texts with configurations."""

    def __init__(self, model: Any, found: sites.Sites, kept: stored.StoredResults) -> None:
        self.sites, self._model, self._kept = found, model, kept
        self._overrides = Overrides(found.sites)

    def points(self, text: Text) -> Points:
        """Of configurations along a text."""

        def measure(configuration: Configuration) -> measuring.Measured:
            with self._overrides.applied(configuration):
                return measuring.measure(self._model, text)

        return Points(self.sites, measure, self._kept)


def _result(
    args: argparse.Namespace, runs: _Runs, seen: Text, unseen: Text, evaluations: tqdm.tqdm
) -> PrecisionResult:
    """The sensitivities, and where they are not all, what is chosen and checked."""

    def told(step: str) -> None:
        evaluations.n = points.evaluations
        evaluations.set_postfix_str(step)

    points = runs.points(seen)
    told("as it is")
    base = points.unchanged()
    aspects = ladder.ASPECTS[args.minimize]
    most = max(int(ALONE * args.evaluations), 1)
    if args.sensitivity:
        aspects, most = (*ladder.ASPECTS["time"], *ladder.FURTHER), args.evaluations
    knobs = ladder.knobs(runs.sites, aspects, most)
    budget = Budget(*args.budget) if args.budget else DEFAULT
    search = Search(
        points,
        knobs,
        args.minimize,
        None if args.sensitivity else budget,
        args.evaluations,
        told,
    )
    alone = search.sensitivities(every_step=args.sensitivity)
    result = PrecisionResult(
        runs.sites, args.minimize, points.all, alone, search.budget, refused=points.refused
    )
    if search.budget is None:
        return result
    chosen = search.chosen(alone)
    told("the check")
    chosen, checked = _checked(search, runs.points(unseen), chosen, base)
    return dataclasses.replace(result, chosen=chosen, checked=checked)


def _checked(
    search: Search, others: Points, chosen: Point, base: Point
) -> tuple[Point, tuple[Point, Point]]:
    """A chosen point within the budget on other prompts, too: the next one that is, if need be."""
    assert search.budget is not None
    unchanged = others.unchanged()
    dearer = [
        point
        for point in sorted(search.points.all, key=lambda one: one.cost.of(search.minimized))
        if point.cost.of(search.minimized) > chosen.cost.of(search.minimized)
        and search.budget.allows(point)
    ]
    first = others.at(chosen.configuration, chosen.step)
    for point in [chosen, *dearer[:REPAIRS], base]:
        again = others.at(point.configuration, point.step)
        if search.budget.allows(again):
            return point, (unchanged, again)
    return chosen, (unchanged, first)


@contextlib.contextmanager
def _kept(nothing: bool) -> Iterator[stored.StoredResults]:
    """What earlier runs have measured."""
    folder = golden.default_folder()
    path: pathlib.Path | None = folder / FILE if folder and not nothing else None
    with stored.opened(path) as results:
        yield results
