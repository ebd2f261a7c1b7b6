"""A trial as Ray Tune sees it: each of its steps is the training up to the next report."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ray import tune

from pipeline.search.trial_group import Job, enter, trial_group
from pipeline.search.trial_training import News, TrialTraining

POINTER_NAME = "pointer.json"


class TrialRun(tune.Trainable):
    """An actor in the trial's reservation, which is the main process of its training.

    What is trained is in the run folder, and a trial goes on from there wherever it is started
    again. To Ray a checkpoint is the name of one of that folder's.
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

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Ray's hook: names the checkpoint of the last report."""
        assert self._training is not None
        self._training.await_checkpoint()
        Path(checkpoint_dir, POINTER_NAME).write_text(
            json.dumps(
                {
                    "trial": self._told["id"],
                    "run_dir": str(self._training.run_dir),
                    "run_key": self._training.run_key,
                    "nimg": self._training.last.nimg,
                }
            )
        )

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Ray's hook; what the trial is told says whose state it goes on from."""

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


def read_pointer(checkpoint: Any) -> dict[str, Any]:
    """What `save_checkpoint` wrote to one of Ray's checkpoints."""
    with checkpoint.as_directory() as folder:
        content: dict[str, Any] = json.loads(Path(folder, POINTER_NAME).read_text())
    return content
