"""The search: how much KL each knob alone costs, then as many of the cheapest as a budget allows.

Errors of different places are independent, and KL grows with their squares, so what knobs add
alone nearly adds up. The moves are ranked by KL for each byte, or second, that they save. Of the
ranking the longest beginning within the budget is found by halving; moves after it are tried one by
one.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

from ttnn_verify.huggingface.inputs import BadInput
from ttnn_verify.precision import ladder
from ttnn_verify.precision.ladder import Knob, Move
from ttnn_verify.precision.measuring import within
from ttnn_verify.precision.points import Point, Points, Refused

# Of the evaluations, the share that may measure knobs alone; the rest searches.
ALONE = 0.65


class BudgetMissed(BadInput):
    """The model as it is misses the budget already; the message says by how much."""


@dataclasses.dataclass(frozen=True)
class Budget:
    """What a metric of `configuration.METRICS` may be: `kl` at most, the others at least."""

    metric: str
    bound: float

    def allows(self, point: Point) -> bool:
        return within(point.measured.figures, self.metric, self.bound)

    def __str__(self) -> str:
        return f"{self.metric} {'<=' if self.metric == 'kl' else '>='} {self.bound:g}"


@dataclasses.dataclass(frozen=True)
class Sensitivity:
    """What a knob at a step adds to the model's KL alone.

    Attributes:
        gain: nats, and half its 95 % interval.
        saved: of what is minimized.
        point: where it was measured; None where TTNN refuses it, for a reason.
    """

    knob: Knob
    step: int
    gain: tuple[float, float]
    saved: float
    point: Point | None
    refused: str = ""


@dataclasses.dataclass
class Search:
    """A search of a model's precision.

    Attributes:
        most: evaluations at most.
        on_point: called before each evaluation.
    """

    points: Points
    knobs: Sequence[Knob]
    minimized: str
    budget: Budget | None
    most: int
    on_point: Callable[[str], object] = lambda step: None

    def sensitivities(self, every_step: bool = False) -> list[Sensitivity]:
        """Of each knob alone at its last step, or at every one; fewer where evaluations run out.

        A knob that is not measured is left as it is.
        """
        base = self.points.all[0]
        found: list[Sensitivity] = []
        most = self.most if every_step else math.ceil(ALONE * self.most)
        for number, knob in enumerate(self.knobs):
            steps = range(1, len(knob.steps) + 1)
            for step in steps if every_step else steps[-1:]:
                if self.points.evaluations >= most:
                    break
                found.append(self._alone(base, number, step))
        return found

    def _alone(self, base: Point, number: int, step: int) -> Sensitivity:
        knob = self.knobs[number]
        configuration = knob.at(step)
        name = f"{knob.name}: {knob.steps[step - 1]}"
        self.on_point(name)
        try:
            point = self.points.at(configuration, name)
        except Refused as error:
            return Sensitivity(knob, step, (float("nan"),) * 2, 0.0, None, str(error))
        saved = base.cost.of(self.minimized) - point.cost.of(self.minimized)
        return Sensitivity(knob, step, point.measured.gain(base.measured), saved, point)

    def chosen(self, alone: Sequence[Sensitivity]) -> Point:
        """The cheapest point within the budget that is found.

        Raises:
            BudgetMissed: the model as it is misses it.
        """
        base, budget = self.points.all[0], self.budget
        assert budget is not None
        if not budget.allows(base):
            raise BudgetMissed(
                f"the unchanged model has {budget.metric} "
                f"{base.measured.figures[budget.metric]:.3g}, the budget is {budget}"
            )
        ranked = self._ranked(alone)
        taken = self._halved(ranked, self._first_guess(ranked, base))
        self._refined(ranked, taken)
        allowed = (point for point in self.points.all if budget.allows(point))
        return min(allowed, key=lambda point: point.cost.of(self.minimized))

    def _ranked(self, alone: Sequence[Sensitivity]) -> list[Move]:
        """The moves that TTNN does not refuse, the cheapest first."""
        numbers = {knob.name: number for number, knob in enumerate(self.knobs)}
        losses, measured = {}, {one.knob.name for one in alone}
        knobs = [knob if knob.name in measured else knob.without(1) for knob in self.knobs]
        for one in alone:
            number = numbers[one.knob.name]
            if one.point is None:
                knobs[number] = knobs[number].without(one.step)
            else:
                losses[number, one.step] = one.gain[0]
        self.knobs = knobs
        return ladder.moves(self.points.sites, knobs, losses, self.minimized)

    def _first_guess(self, ranked: Sequence[Move], base: Point) -> int:
        """How many moves should be within the budget, if losses add up."""
        assert self.budget is not None
        if self.budget.metric != "kl":
            return len(ranked) // 2
        left = self.budget.bound - base.measured.figures["kl"]
        count = 0
        for move in ranked:
            left -= move.loss
            if left < 0:
                break
            count += 1
        return count

    def _halved(self, ranked: Sequence[Move], guess: int) -> list[Move]:
        """The longest beginning of the ranking within the budget."""
        low, high = 0, len(ranked) + 1  # within; beyond
        trial = max(guess, 1)
        while high - low > 1 and self.points.evaluations < self.most:
            if self._allowed(ranked[:trial], f"the first {trial} of {len(ranked)} moves"):
                low = trial
            else:
                high = trial
            trial = (low + high) // 2
        return list(ranked[:low])

    def _refined(self, ranked: Sequence[Move], taken: list[Move]) -> None:
        """Try the moves after the beginning one by one, and keep those that the budget allows."""
        for move in ranked[len(taken) :]:
            if self.points.evaluations >= self.most:
                return
            above = [one for one in taken if one.knob == move.knob]
            if len(above) == move.step - 1:
                knob = self.knobs[move.knob]
                if self._allowed([*taken, move], f"{knob.name}: {knob.steps[move.step - 1]}, too"):
                    taken.append(move)

    def _allowed(self, moves: Sequence[Move], step: str) -> bool:
        assert self.budget is not None
        self.on_point(step)
        try:
            return self.budget.allows(self.points.at(ladder.taken(self.knobs, moves), step))
        except Refused:
            return False
