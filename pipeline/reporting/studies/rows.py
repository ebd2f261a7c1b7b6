"""The tables of a study's page as text."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.reporting.numbers import significant
from pipeline.search.journal import Status, Trial
from pipeline.search.results import ConfigResult, StudyResults, difference, ranked, values_of
from pipeline.search.space import trial_name

STATUS_NAMES: dict[Status, str] = {
    "complete": "finished",
    "stopped": "stopped",
    "failed": "failed",
    "unfinished": "unfinished",
}


@dataclass(frozen=True, kw_only=True)
class ConfigRow:
    """One configuration over its seeds."""

    name: str
    value: str
    """Empty without one."""
    interval: str
    behind: str
    """`+3.1 (-0.2 to 6.4)`: minus the best on the same seeds; empty for the best."""
    seeds: str
    """`2 of 3`: those that were trained to the end."""
    outcome: str


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """One trial."""

    id: str
    name: str
    seed: int
    status: str
    message: str
    kimg: str
    value: str
    run: str
    """MLflow's id, else the run's key."""


def config_rows(results: StudyResults) -> tuple[ConfigRow, ...]:
    """Best first, those without a value last."""
    order = ranked(results)
    rest = [config for config in results.configs if config.value is None]
    return tuple(_config_row(config, results.best) for config in (*order, *rest))


def trial_rows(results: StudyResults) -> tuple[TrialRow, ...]:
    """In the order of their making."""
    return tuple(
        TrialRow(
            id=trial.id,
            name=trial_name(trial.config),
            seed=trial.seed,
            status=STATUS_NAMES[trial.status],
            message=trial.message,
            kimg=f"{trial.kimg:g}",
            value="" if trial.value is None else significant(trial.value, 4),
            run=trial.mlflow_run_id or (trial.run_key or "")[:12],
        )
        for trial in results.trials
    )


def interval_text(interval: tuple[float, float] | None) -> str:
    """`27.1 to 30.2`; empty for none."""
    if interval is None:
        return ""
    return f"{significant(interval[0], 4)} to {significant(interval[1], 4)}"


def counted(trials: Sequence[Trial]) -> str:
    """`6 finished, 2 stopped`."""
    counts = Counter(trial.status for trial in trials)
    return ", ".join(f"{counts[s]} {name}" for s, name in STATUS_NAMES.items() if counts[s])


def _config_row(config: ConfigResult, best: ConfigResult | None) -> ConfigRow:
    return ConfigRow(
        name=trial_name(config.config),
        value="" if config.value is None else significant(config.value, 4),
        interval=interval_text(config.ci95),
        behind="" if best is None or config is best else _behind(config, best),
        seeds=f"{len(values_of(config))} of {len(config.trials)}",
        outcome=counted(config.trials),
    )


def _behind(config: ConfigResult, best: ConfigResult) -> str:
    found = difference(config, best)
    if found is None:
        return ""
    sign = "+" if found.value > 0 else ""
    interval = "" if found.ci95 is None else f" ({interval_text(found.ci95)})"
    return f"{sign}{significant(found.value, 3)}{interval}"
