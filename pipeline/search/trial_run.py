"""A trial as Ray Tune sees it: each of its steps is the training up to the next report."""

from contextlib import ExitStack
from typing import Any

from ray import tune

from pipeline.search.trial_group import Job, enter, trial_group
from pipeline.search.trial_training import News, TrialTraining


class TrialRun(tune.Trainable):
    """An actor in the trial's reservation, which is the main process of its training.

    What is trained is in the run folder, and a trial goes on from there wherever it is started
    again; Ray's own checkpoints are not used.
    """

    def setup(self, config: dict[str, Any], job: Job) -> None:  # type: ignore[override]
        """Ray's hook."""
        self._job = job
        self._told = config["trial"]
        self._training: TrialTraining | None = None
        self._group = ExitStack()

    def step(self) -> dict[str, Any]:
        """Ray's hook: one report, or the end."""
        if self._training is None:
            self._training = self._open()
        news = self._training.next()
        return self._result(self._training, news)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Ray's hook: another trial in this process."""
        self._close()
        self._told = new_config["trial"]
        return True

    def cleanup(self) -> None:
        """Ray's hook: training ends with a checkpoint, and its tracker is told."""
        self._close()

    def _open(self) -> TrialTraining:
        study = self._job.study
        params = study.trial_params(self._told["config"], self._told["seed"])
        device = enter(self._job, params)
        context = self._group.enter_context(trial_group(self._job, params, self._told, device))
        return TrialTraining(study, self._told, device, context)

    def _close(self) -> None:
        if self._training is not None:
            self._training.stop()
        self._training = None
        self._group.close()

    def _result(self, training: TrialTraining, news: News) -> dict[str, Any]:
        result = {
            "id": self._told["id"],
            "kimg": news.nimg / 1000,
            "value": news.value,
            "run_dir": None if training.run_dir is None else str(training.run_dir),
            "run_key": training.run_key,
            "mlflow_run_id": training.mlflow_run_id(),
        }
        if news.outcome is not None:
            result |= {
                "done": True,
                "outcome": news.outcome,
                "message": news.message,
                "obstacle": news.obstacle,
            }
        return result
