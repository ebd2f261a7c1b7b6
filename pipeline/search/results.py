"""Results of a study: all trials, configurations over their seeds, and their order."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy.stats import t as student

from pipeline.search.journal import JOURNAL_NAME, History, Trial, fold, read_journal
from pipeline.search.space import Config
from pipeline.search.study_folder import read_study
from pipeline.storage.atomic import write_json

RESULTS_NAME = "results.json"
_DISTANCES = ("fid", "fd")  # prefixes of metrics that are never below 0


@dataclass(frozen=True, kw_only=True)
class ConfigResult:
    """A configuration over its seeds."""

    index: int
    config: Config
    trials: tuple[Trial, ...]
    """In the order of the study's seeds."""
    value: float | None
    """Mean of the trials that were trained to the end; None where there is none."""
    ci95: tuple[float, float] | None
    """Of the mean over seeds, by Student's t; None for fewer than two values."""

    @property
    def is_complete(self) -> bool:
        """Whether every seed was trained to the end and has a value."""
        return len(self.values) == len(self.trials)

    @property
    def values(self) -> dict[int, float]:
        """Final values by seed, of the trials that were trained to the end."""
        return final_values(self.trials)


@dataclass(frozen=True, kw_only=True)
class StudyResults:
    """The content of a study's page."""

    study: str
    metric: str
    mode: str
    """min or max."""
    section: dict[str, Any]
    """The study's section of `params.yaml` with the command line's changes."""
    params: dict[str, Any]
    """The sections `data`, `reference`, `model` and `train` that all trials share."""
    dataset_digest: str
    trials: tuple[Trial, ...]
    configs: tuple[ConfigResult, ...]
    best: ConfigResult | None
    """By mean value, among those complete over all seeds; else among those with any value."""

    def to_json(self) -> dict[str, Any]:
        """The content of `results.json`."""
        best = self.best
        return {
            "study": self.study,
            "metric": self.metric,
            "mode": self.mode,
            "best": None
            if best is None
            else {"config": best.config, "value": best.value, "ci95": _listed(best.ci95)},
            "configs": [
                {"index": c.index, "config": c.config, "value": c.value, "ci95": _listed(c.ci95)}
                for c in self.configs
            ],
            "trials": [
                {
                    "id": trial.id,
                    "config": trial.config,
                    "seed": trial.seed,
                    "status": trial.status,
                    "kimg": trial.kimg,
                    "value": trial.value,
                    "mlflow_run_id": trial.mlflow_run_id,
                    "run_dir": trial.run_dir,
                    "message": trial.message,
                    "reports": [[report.kimg, report.value] for report in trial.reports],
                }
                for trial in self.trials
            ],
        }


def study_results(folder: Path) -> StudyResults:
    """The results in a study's folder so far; raises UserError if it is not a study's."""
    described = read_study(folder)
    history = fold(read_journal(folder / JOURNAL_NAME))
    identity, section = described["identity"], described["section"]
    configs = config_results(history, _lowest(identity["metric"]))
    return StudyResults(
        study=identity["study"],
        metric=identity["metric"],
        mode=section["mode"],
        section=section,
        params=identity["params"],
        dataset_digest=identity["dataset_digest"],
        trials=tuple(history.trials.values()),
        configs=configs,
        best=next(iter(in_order(configs, section["mode"])), None),
    )


def write_results(folder: Path) -> StudyResults:
    """Writes `results.json` of a study's folder, atomically, and returns its content."""
    results = study_results(folder)
    write_json(folder / RESULTS_NAME, results.to_json())
    return results


def config_results(history: History, lowest: float = -math.inf) -> tuple[ConfigResult, ...]:
    """The configurations of a history by index; intervals do not reach below `lowest`."""
    results = []
    for index in sorted({trial.index for trial in history.trials.values()}):
        trials = tuple(history.of_index(index))
        values = list(final_values(trials).values())
        results.append(
            ConfigResult(
                index=index,
                config=trials[0].config,
                trials=trials,
                value=statistics.fmean(values) if values else None,
                ci95=mean_interval(values, lowest),
            )
        )
    return tuple(results)


def in_order(configs: Sequence[ConfigResult], mode: str) -> tuple[ConfigResult, ...]:
    """Configurations with a value, the best first.

    Those trained to the end with every seed come first: a mean over fewer seeds is less certain.
    """
    sign = 1 if mode == "min" else -1
    known = [(config, config.value) for config in configs if config.value is not None]
    order = sorted(known, key=lambda pair: (not pair[0].is_complete, sign * pair[1]))
    return tuple(config for config, _ in order)


def final_values(trials: Sequence[Trial]) -> dict[int, float]:
    """Values by seed, of the trials that were trained to the end."""
    ends = [trial for trial in trials if trial.status == "complete"]
    return {trial.seed: trial.value for trial in ends if trial.value is not None}


def mean_interval(values: Sequence[float], lowest: float) -> tuple[float, float] | None:
    """95 % interval of the mean by Student's t, cut at `lowest`; None below two values."""
    if len(values) < 2:
        return None
    deviation = statistics.stdev(values) / math.sqrt(len(values))
    half = float(student.ppf(0.975, len(values) - 1)) * deviation
    mean = statistics.fmean(values)
    return max(mean - half, lowest), mean + half


def ranked(results: StudyResults) -> tuple[ConfigResult, ...]:
    """Configurations with a value, the best first; the first is `results.best`."""
    return in_order(results.configs, results.mode)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Of two configurations, paired by seed, which removes the variance between seeds."""

    value: float
    """Mean over the seeds with which both were trained to the end."""
    ci95: tuple[float, float] | None
    """By Student's t; None for fewer than two such seeds."""


def difference(config: ConfigResult, other: ConfigResult) -> Difference | None:
    """The values of `config` minus those of `other`; None without a common seed."""
    ours, theirs = config.values, other.values
    values = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
    if not values:
        return None
    return Difference(value=statistics.fmean(values), ci95=mean_interval(values, -math.inf))


def values_of(config: ConfigResult) -> tuple[float, ...]:
    """Final values of the trials that were trained to the end, one for each seed."""
    return tuple(config.values.values())


def varied(results: StudyResults) -> tuple[str, ...]:
    """The keys of the study's space."""
    return tuple(results.section["space"])


def num_expected(results: StudyResults) -> int:
    """Number of trials of the finished study."""
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
    """kimg at which ASHA compares trials before their end; none under other schedulers."""
    if section["scheduler"] != "asha":
        return ()
    rungs = []
    kimg = section["grace_kimg"] or section["report_kimg"]
    while kimg < section["max_kimg"]:
        rungs.append(kimg)
        kimg *= section["reduction_factor"]
    return tuple(rungs)


def _lowest(metric: str) -> float:
    return 0.0 if metric.startswith(_DISTANCES) else -math.inf


def _listed(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else list(interval)
