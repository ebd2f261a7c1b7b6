"""The next configuration of a study: a function of its seed and its history.

A resumed study therefore proposes the same configurations as one without interruption.
"""

import statistics
import warnings
from typing import TYPE_CHECKING

from pipeline.config.search import Range
from pipeline.search.journal import History, Trial
from pipeline.search.space import Config, derived_seed, grid_points, random_point, rounded
from pipeline.search.study import Study

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

_STARTUP = 5  # random configurations before TPE has data
_ATTEMPTS = 64  # draws of one configuration that is new


def num_configs(study: Study) -> int:
    """How many configurations the study tries, at most those of a grid."""
    section = study.section
    if section.searcher != "grid":
        assert section.num_trials is not None
        return section.num_trials
    size = len(grid_points(section.space))
    return size if section.num_trials is None else min(size, section.num_trials)


def propose(study: Study, history: History) -> Config | None:
    """The next configuration, one without a trial; None when none is left."""
    index = history.num_configs
    if index >= num_configs(study):
        return None
    section = study.section
    if section.searcher == "grid":
        return grid_points(section.space)[index]
    tried = [trial.config for trial in history.trials.values()]
    for attempt in range(_ATTEMPTS):
        if section.searcher == "random" or index < _STARTUP:
            config = random_point(section.space, section.seed, index, attempt)
        else:
            config = _tpe_point(study, history, derived_seed(section.seed, index, attempt))
        if config not in tried:
            return config
    return None  # a small space, exhausted


def _tpe_point(study: Study, history: History, seed: int) -> Config:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = study.section.space
    distributions = {key: _distribution(values) for key, values in space.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=_STARTUP, multivariate=True, constant_liar=True
        )
    minimize, maximize = optuna.study.StudyDirection.MINIMIZE, optuna.study.StudyDirection.MAXIMIZE
    optuna_study = optuna.create_study(
        sampler=sampler, direction=minimize if study.section.mode == "min" else maximize
    )
    for index in sorted({trial.index for trial in history.trials.values()}):
        optuna_study.add_trial(_optuna_trial(history.of_index(index), distributions, space))
    asked = optuna_study.ask(fixed_distributions=distributions)
    return {key: _value_of(space[key], value) for key, value in asked.params.items()}


def _optuna_trial(
    trials: list[Trial], distributions: "dict[str, BaseDistribution]", space: dict[str, Range]
) -> "FrozenTrial":
    """One configuration as a trial of Optuna; its value is the mean over the seeds."""
    from optuna.trial import TrialState, create_trial

    params = {
        key: trials[0].config[key] if values.bounds else values.values.index(trials[0].config[key])
        for key, values in space.items()
    }
    finite = [trial.value for trial in trials if trial.value is not None]
    mean = statistics.fmean(finite) if finite else None
    state, value, intermediate = TrialState.RUNNING, None, {}
    if all(trial.is_over for trial in trials):
        if mean is None or any(trial.status == "failed" for trial in trials):
            state = TrialState.FAIL
        elif all(trial.status == "complete" for trial in trials):
            state, value = TrialState.COMPLETE, mean
        else:  # compared with others at the same length
            state = TrialState.PRUNED
            intermediate = {round(1000 * min(trial.kimg for trial in trials)): mean}
    return create_trial(
        state=state,
        value=value,
        params=params,
        distributions=distributions,
        intermediate_values=intermediate,
    )


def _distribution(values: Range) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if values.bounds is None:  # by index: values may be lists, which Optuna rejects
        return CategoricalDistribution(range(len(values.values)))
    low, high = values.bounds
    return FloatDistribution(low, high, log=values.loguniform is not None)


def _value_of(values: Range, value: float) -> object:
    return rounded(value, values.bounds) if values.bounds else values.values[int(value)]
