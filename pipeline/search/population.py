"""Population based training (Jaderberg et al. 2017, arXiv 1711.09846) of the learning rates."""

import random
from typing import Any

from ray import tune
from ray.tune.schedulers import PopulationBasedTraining

from pipeline.config.search import Range
from pipeline.search.proposals import propose
from pipeline.search.recorder import Recorder
from pipeline.search.schedulers import Recorded
from pipeline.search.searcher import told
from pipeline.search.space import rounded
from pipeline.search.study import derived_seed
from pipeline.search.trial_run import read_pointer

_OWN = ("id", "index", "seed")  # of what a member is told, what it keeps


class Population(Recorded, PopulationBasedTraining):
    """Every `report_kimg` the members behind take over the state of one ahead, at other rates.

    Rates are multiplied by 0.8 or 1.2 or drawn anew, and stay within the space.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        section = recorder.study.section
        super().__init__(
            time_attr="kimg",
            metric="value",
            mode=section.mode,
            # Half of it: reports come with whole batches, some a little early.
            perturbation_interval=section.report_kimg / 2,
            burn_in_period=section.first_rung_kimg,
            hyperparam_mutations={
                "trial": {"config": {key: _domain(values) for key, values in section.space.items()}}
            },
            custom_explore_fn=self._within_bounds,
            log_config=False,
        )

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Ray's hook; a member that is taken up again is compared by its last report again.

        It repeats the earlier ones too, at which nothing is exchanged a second time.
        """
        super().on_trial_add(tune_controller, trial)
        known = self.recorder.history.trials[trial.config["trial"]["id"]]
        state = self._trial_state[trial]
        between = known.kimg - 0.75 * self.recorder.study.section.report_kimg
        state.last_perturbation_time = between  # type: ignore[assignment]
        state.last_train_time = known.kimg  # type: ignore[assignment]

    def _get_new_config(self, trial: Any, trial_to_clone: Any) -> tuple[dict, dict]:
        told = trial.config["trial"]
        pointer = read_pointer(self._trial_state[trial_to_clone].last_checkpoint)
        # Else a driver that goes on would draw what the one before it drew.
        seed = self.recorder.study.section.seed
        random.seed(derived_seed(seed, told["id"], pointer["run_key"], pointer["nimg"]))
        new, operations = super()._get_new_config(trial, trial_to_clone)
        new["trial"] |= {**{name: told[name] for name in _OWN}, "parent": pointer}
        self.recorder.exploit(told["id"], new["trial"]["config"], pointer)
        return new, operations

    def _within_bounds(self, config: dict[str, Any]) -> dict[str, Any]:
        values = config["trial"]["config"]
        for key, limits in self.recorder.study.section.space.items():
            assert limits.bounds is not None
            values[key] = rounded(values[key], limits.bounds)
        return config


def founders(recorder: Recorder) -> list[dict[str, Any]]:
    """What the members of the population that are not through yet are told, as Ray wants it."""
    while (config := propose(recorder.study, recorder.history)) is not None:
        recorder.add_trials(recorder.history.num_configs, config)
    return [told(trial) for trial in recorder.history.trials.values() if not trial.is_over]


def _domain(values: Range) -> Any:
    assert values.bounds is not None
    make = tune.loguniform if values.loguniform is not None else tune.uniform
    return make(*values.bounds)
