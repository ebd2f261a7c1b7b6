"""How far a study is, and its configurations from the best on."""

import math
import statistics
from dataclasses import dataclass
from typing import Any

from pipeline.search.results import ConfigResult, StudyResults, in_order, mean_interval


def ranked(results: StudyResults) -> tuple[ConfigResult, ...]:
    """Configurations with a value, the best first; the first is `results.best`."""
    return in_order(results.configs, results.mode)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Of two configurations, seed by seed, so that what the seeds differ by drops out."""

    value: float
    """Mean over the seeds that both were trained to the end with."""
    ci95: tuple[float, float] | None
    """By Student's t; None for fewer than two such seeds."""


def difference(config: ConfigResult, other: ConfigResult) -> Difference | None:
    """The values of `config` minus those of `other`; None where they share no seed."""
    ours, theirs = config.values, other.values
    values = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
    if not values:
        return None
    return Difference(value=statistics.fmean(values), ci95=mean_interval(values, -math.inf))


def values_of(config: ConfigResult) -> tuple[float, ...]:
    """Final values of the trials that were trained to the end, one a seed."""
    return tuple(config.values.values())


def varied(results: StudyResults) -> tuple[str, ...]:
    """The keys of the study's space."""
    return tuple(results.section["space"])


def num_expected(results: StudyResults) -> int:
    """Trials that the study is made of when it is finished."""
    section = results.section
    sizes = [len(values.get("grid") or ()) for values in section["space"].values()]
    grid = math.prod(sizes) if section["searcher"] == "grid" else None
    limits = [n for n in (grid, section["num_trials"]) if n is not None]
    return min(limits) * len(section["seeds"])


def is_finished(results: StudyResults) -> bool:
    """Whether no trial is left to run."""
    over = sum(trial.is_over for trial in results.trials)
    return over >= num_expected(results)


def rungs_kimg(section: dict[str, Any]) -> tuple[float, ...]:
    """Where successive halving compares trials before their end; none under other schedulers."""
    if section["scheduler"] != "asha":
        return ()
    rungs = []
    kimg = section["grace_kimg"] or section["report_kimg"]
    while kimg < section["max_kimg"]:
        rungs.append(kimg)
        kimg *= section["reduction_factor"]
    return tuple(rungs)
