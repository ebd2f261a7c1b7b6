"""Trials of one configuration under several seeds, taken together."""

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from scipy.special import stdtrit

from pipeline.search.trial_result import TrialResult


@dataclass(frozen=True)
class Configuration:
    """One point of a study's space with all of its trials."""

    config: Mapping[str, Any]
    trials: tuple[TrialResult, ...]

    @cached_property
    def finished(self) -> tuple[TrialResult, ...]:
        """Trials that came to their end with a value."""
        return tuple(
            trial for trial in self.trials if trial.status == "finished" and trial.value is not None
        )

    @cached_property
    def values(self) -> tuple[float, ...]:
        """Final values of the finished trials, a seed each."""
        return tuple(t.value for t in self.finished if t.value is not None)

    @property
    def mean(self) -> float:
        """Mean of the final values over seeds; nan without any."""
        return statistics.fmean(self.values) if self.values else math.nan

    @property
    def ci95(self) -> tuple[float, float] | None:
        """95 % interval of the mean over seeds, by Student's t; None with fewer than two."""
        n = len(self.values)
        if n < 2:
            return None
        reach = float(stdtrit(n - 1, 0.975)) * statistics.stdev(self.values) / math.sqrt(n)
        return self.mean - reach, self.mean + reach


def configurations(trials: Iterable[TrialResult]) -> tuple[Configuration, ...]:
    """Trials sorted by what was varied, in the order of first appearance."""
    grouped: dict[str, list[TrialResult]] = {}
    for trial in trials:
        key = json.dumps(dict(trial.config), sort_keys=True)
        grouped.setdefault(key, []).append(trial)
    return tuple(Configuration(members[0].config, tuple(members)) for members in grouped.values())


def ranked(
    trials: Iterable[TrialResult], seeds: Sequence[int], mode: str
) -> tuple[Configuration, ...]:
    """Configurations with a finished trial, the best first.

    Those that finished with every seed come before those that did not: a mean over fewer seeds is
    the more easily a lucky one.
    """
    sign = 1 if mode == "min" else -1
    done = [c for c in configurations(trials) if c.finished]
    return tuple(sorted(done, key=lambda c: (not set(seeds) <= _seeds(c), sign * c.mean, _name(c))))


def best_configuration(
    trials: Iterable[TrialResult], seeds: Sequence[int], mode: str
) -> Configuration | None:
    """The first of `ranked`; None while no trial has finished."""
    return next(iter(ranked(trials, seeds, mode)), None)


def _seeds(configuration: Configuration) -> set[int]:
    return {trial.seed for trial in configuration.finished}


def _name(configuration: Configuration) -> str:
    return json.dumps(dict(configuration.config), sort_keys=True)
