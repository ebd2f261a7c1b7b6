"""What a study found: every trial, configurations over their seeds, and the best of them."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy.stats import t as student

from pipeline.search.history import History, Trial, fold
from pipeline.search.journal import JOURNAL_NAME, read_journal
from pipeline.search.study import Config
from pipeline.search.study_folder import read_study
from pipeline.storage.atomic import write_json

RESULTS_NAME = "results.json"
_DISTANCES = ("fid", "fd")  # beginnings of the names of metrics that are never below 0


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
    """Of the mean over seeds, by Student's t, of a distance from 0 up; None below two values."""

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
    """Everything that a page about a study needs."""

    study: str
    metric: str
    mode: str
    """min or max."""
    section: dict[str, Any]
    """The study as `params.yaml` has it, with what the command line changed."""
    params: dict[str, Any]
    """The sections `data`, `reference`, `model` and `train` that all trials share."""
    dataset_digest: str
    trials: tuple[Trial, ...]
    configs: tuple[ConfigResult, ...]
    best: ConfigResult | None
    """By the mean value, among those complete over all seeds; else among those with any value."""

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
    """What the folder of a study holds so far; raises UserError for one that is none."""
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
    """Writes `results.json` of a study's folder, atomically, and returns what it holds."""
    results = study_results(folder)
    write_json(folder / RESULTS_NAME, results.to_json())
    return results


def config_results(history: History, lowest: float = -math.inf) -> tuple[ConfigResult, ...]:
    """The configurations of a history, in the order of their making; no value is below `lowest`."""
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
    """Those with a value, the best first.

    Those that were trained to the end with every seed come before those that were not: a mean over
    fewer seeds is the more easily a lucky one.
    """
    sign = 1 if mode == "min" else -1
    known = [(config, config.value) for config in configs if config.value is not None]
    order = sorted(known, key=lambda pair: (not pair[0].is_complete, sign * pair[1]))
    return tuple(config for config, _ in order)


def final_values(trials: Sequence[Trial]) -> dict[int, float]:
    """By seed, of the trials that were trained to the end and have one."""
    ends = [trial for trial in trials if trial.status == "complete"]
    return {trial.seed: trial.value for trial in ends if trial.value is not None}


def mean_interval(values: Sequence[float], lowest: float) -> tuple[float, float] | None:
    """95 % of the mean by Student's t, cut at `lowest`; None for fewer than two values."""
    if len(values) < 2:
        return None
    deviation = statistics.stdev(values) / math.sqrt(len(values))
    half = float(student.ppf(0.975, len(values) - 1)) * deviation
    mean = statistics.fmean(values)
    return max(mean - half, lowest), mean + half


def format_table(results: StudyResults) -> str:
    """Every trial as a line of plain text, and the best configuration below."""
    keys = list(results.section["space"])
    rows = [["trial", *keys, "seed", "status", "kimg", results.metric]]
    for trial in results.trials:
        value = "-" if trial.value is None else f"{trial.value:.4g}"
        settings = [_text(trial.config[key]) for key in keys]
        rows.append([trial.id, *settings, str(trial.seed), trial.status, f"{trial.kimg:g}", value])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    best = results.best
    if best is None:
        lines.append("no trial was trained to the end")
    else:
        interval = "" if best.ci95 is None else f", 95 % [{best.ci95[0]:.4g}, {best.ci95[1]:.4g}]"
        settings = [f"{key}={_text(best.config[key])}" for key in keys]
        lines.append(f"best: {' '.join(settings)}: {results.metric} {best.value:.4g}{interval}")
    failed = [trial for trial in results.trials if trial.status == "failed"]
    lines += [f"{trial.id} failed: {trial.message}" for trial in failed]
    return "\n".join(line.rstrip() for line in lines)


def _lowest(metric: str) -> float:
    return 0.0 if metric.startswith(_DISTANCES) else -math.inf


def _listed(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else list(interval)


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
