"""Verdicts on calls that an earlier run has judged: a call with the same key is not judged again.

A walk gives each call Hugging Face's values. So between runs of a model file, edited or not, most
calls are the same to the bit, and so are their results.
"""

import functools
import io
import pickle
from collections.abc import Callable
from typing import Any

from ttnn_verify.drift import finding
from ttnn_verify.drift.judgement import judging
from ttnn_verify.drift.judgement.judging import OwnVerdicts
from ttnn_verify.drift.observed import Observed
from ttnn_verify.drift.reuse.call_keys import CallKeys, NoKey
from ttnn_verify.files.stored import StoredResults
from ttnn_verify.numerics import floors, measurements, tolerance
from ttnn_verify.ops import table

# What verdicts and floors are made of.
KEPT_CLASSES = {
    (kind.__module__, kind.__qualname__): kind
    for kind in (
        finding.Brief,
        floors.Floor,
        measurements.Comparison,
        measurements.MaxError,
        measurements.NonFinite,
        measurements.Ulps,
        measurements.WorstRow,
        tolerance.Verdict,
    )
}


class KeptVerdicts:
    """Judges calls, unless their verdicts are kept."""

    def __init__(self, stored: StoredResults) -> None:
        self.stored = stored
        self.keys = CallKeys()

    def own_verdicts(self, observed: Observed, accurate: bool) -> OwnVerdicts:
        """As `judging.own_verdicts`."""
        if not _is_worth_it(observed):
            return judging.own_verdicts(observed, accurate)
        try:
            operands = self.keys.of_operands(observed, accurate)
        except NoKey:
            return judging.own_verdicts(observed, accurate)
        results = self.keys.of_results(observed, operands)
        judged = functools.cache(lambda: judging.own_verdicts(observed, accurate))
        kept = self._get(results)
        if kept is None:
            own = judged()
            if own.unknown:
                return own
            kept = own.verdicts, tuple(floor is not None for floor in own.floors)
            self._put(results, kept)
        verdicts, have_floors = kept
        floors = [
            self._floor(operands, number, judged) if has_one else None
            for number, has_one in enumerate(have_floors)
        ]
        return OwnVerdicts(verdicts, tuple(floors), accurate=accurate)

    def _floor(
        self, operands: bytes, number: int, judged: Callable[[], OwnVerdicts]
    ) -> judging.FloorMaker:
        """Makes the floor of a result, which is kept as well: no verdict may have needed it yet."""

        def make() -> floors.Floor:
            key = operands + number.to_bytes(4, "little")
            kept = self._get(key)
            if kept is None:
                maker = judged().floors[number]
                assert maker is not None
                kept = maker()
                self._put(key, kept)
            return kept

        return make

    def _get(self, key: bytes) -> Any:
        content = self.stored.get(key)
        try:
            return None if content is None else _Unpickler(io.BytesIO(content)).load()
        except pickle.UnpicklingError:
            return None

    def _put(self, key: bytes, value: Any) -> None:
        self.stored.put(key, pickle.dumps(value))


def _is_worth_it(observed: Observed) -> bool:
    """Whether comparing takes longer than hashing: not where data only moves.

    TTNN's own golden functions may be anybody's, and are not known by their code.
    """
    spec = table.spec_of(observed.name)
    return spec.golden is not None and not spec.moves and not spec.writes


class _Unpickler(pickle.Unpickler):
    """Of what verdicts are made of, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in KEPT_CLASSES:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of a verdict.")
        return KEPT_CLASSES[module, name]
