"""The methods as Optuna samplers.

What is drawn is a function of the seed, the number of the trial and the trials so far: several processes can share a
study, and one process gives the same search every time.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from gradproof.tune.methods import CoarseToFine
from gradproof.tune.space import Space

Stored = dict[str, Any]

_TRIES = 50  # draws from where the method wants them, and again as many from everywhere
_LISTED = 100_000  # combinations that are gone through one by one when draws find no new one
_STREAM = 0x7475_6E65


def create(method: Any, space: Space, trials: int, seed: int) -> BaseSampler:
    """The sampler of a method, see :func:`gradproof.tune.methods.chosen`."""
    if method == "random":
        return RandomSampler(space, seed)
    if method == "tpe":
        return TreeSampler(space, seed)
    if isinstance(method, CoarseToFine):
        return CoarseToFineSampler(space, seed, method, ceil(method.coarse * trials))
    return ForeignSampler(space, seed, method)


class RandomSampler(BaseSampler):
    """Every parameter evenly on its scale; never a combination that another trial has."""

    def __init__(self, space: Space, seed: int) -> None:
        self.space, self.seed = space, seed

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self.space.distributions()

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> Stored:
        others = [
            other
            for other in study.get_trials(deepcopy=False)
            if other.state != TrialState.FAIL and other._trial_id != trial._trial_id
        ]
        taken = [other.params for other in others if self.space.complete(other.params)]
        stored: Stored = {}
        for attempt in range(2 * _TRIES):
            rng = self._generator(trial.number, attempt)
            stored = self.propose(study, trial, others, rng) if attempt < _TRIES else self.space.draw(rng)
            if stored not in taken:
                return stored
        return self._left(taken, trial.number) or stored

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self.space.draw(self._generator(trial.number, 0))[param_name]

    def propose(
        self, study: Study, trial: FrozenTrial, others: Sequence[FrozenTrial], rng: np.random.Generator
    ) -> Stored:
        """One combination.

        Parameters
        ----------
        study, trial : Study, FrozenTrial
            For whom.
        others : sequence of FrozenTrial
            All other trials that have not failed.
        rng : Generator
            What to draw from.
        """
        return self.space.draw(rng)

    def _generator(self, number: int, attempt: int) -> np.random.Generator:
        # The lowest word of the counter runs while numbers are drawn.
        return np.random.Generator(np.random.Philox(key=[self.seed, _STREAM], counter=[0, 0, attempt, number]))

    def _left(self, taken: Sequence[Stored], number: int) -> Stored | None:
        """Any combination of a small space that is not taken."""
        if self.space.size > _LISTED:
            return None
        members = {self.space.keys[name]: each.members() for name, each in self.space.parameters.items()}
        combinations = (dict(zip(members, values, strict=True)) for values in itertools.product(*members.values()))
        left = [stored for stored in combinations if stored not in taken]
        return left[int(self._generator(number, 2 * _TRIES).integers(len(left)))] if left else None


class CoarseToFineSampler(RandomSampler):
    """See :class:`~gradproof.tune.methods.CoarseToFine`."""

    def __init__(self, space: Space, seed: int, method: CoarseToFine, coarse: int) -> None:
        super().__init__(space, seed)
        self.method, self.coarse = method, coarse

    def propose(
        self, study: Study, trial: FrozenTrial, others: Sequence[FrozenTrial], rng: np.random.Generator
    ) -> Stored:
        if sum(other.number < trial.number for other in others) < self.coarse:
            return self.space.draw(rng)
        sign = -1 if study.direction == StudyDirection.MAXIMIZE else 1
        complete = [other for other in others if other.state == TrialState.COMPLETE]
        best = sorted(complete, key=lambda other: (sign * (other.value or 0.0), other.number))[: self.method.best]
        if not best:
            return self.space.draw(rng)
        box = self.space.around([other.params for other in best], self.method.margin, self.method.least)
        return self.space.draw(rng, box)


class ForeignSampler(RandomSampler):
    """A sampler of Optuna's own, asked again when it repeats itself."""

    def __init__(self, space: Space, seed: int, sampler: BaseSampler | None = None) -> None:
        super().__init__(space, seed)
        self.sampler = sampler

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        if self.sampler is not None:
            self.sampler.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        if self.sampler is not None:
            self.sampler.after_trial(study, trial, state, values)

    def propose(
        self, study: Study, trial: FrozenTrial, others: Sequence[FrozenTrial], rng: np.random.Generator
    ) -> Stored:
        sampler = self.sampler or self.fresh(rng)
        stored = sampler.sample_relative(study, trial, sampler.infer_relative_search_space(study, trial))
        for key, distribution in self.space.distributions().items():
            if key not in stored:
                stored[key] = sampler.sample_independent(study, trial, key, distribution)
        return {key: stored[key] for key in self.space.keys.values()}

    def fresh(self, rng: np.random.Generator) -> BaseSampler:
        """A sampler for one draw."""
        raise NotImplementedError


class TreeSampler(ForeignSampler):
    """Optuna's tree-structured Parzen estimator, made afresh for each trial from its own seed."""

    def fresh(self, rng: np.random.Generator) -> BaseSampler:
        return TPESampler(seed=int(rng.integers(2**32)))
