"""A trial of a study: a Ray Trainable each of whose steps trains up to the next report."""

import threading
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from queue import Queue
from typing import Any

from ray import tune

from pipeline.core.errors import ObstacleError, Preempted, UserError
from pipeline.distributed.context import DistContext
from pipeline.runs.train import RunCallbacks, train_run
from pipeline.search.space import short_keys, trial_name
from pipeline.search.study import Study
from pipeline.search.trial_processes import TrialEnv, enter, trial_paths, trial_processes
from pipeline.tracking.run_description import RunLabel
from pipeline.tracking.study_experiment import (
    CONFIG_PREFIX,
    SEED_TAG,
    STUDY_TAG,
    TRIAL_TAG,
    run_id_of,
)
from pipeline.training.settings import is_due, run_nimg

PREEMPTED = "the study stopped this trial"
_LOCK_PATIENCE_S = 60.0  # until a killed process of the same run has released its run folder


class TrialTrainable(tune.Trainable):
    """An actor in the trial's reservation, which is the main process of its training.

    Checkpoints are in the run folder, from which a trial resumes wherever it is started again;
    Ray's own are not used.
    """

    def setup(self, config: dict[str, Any], env: TrialEnv) -> None:  # type: ignore[override]
        """Ray's hook."""
        self._env = env
        self._spec = config["trial"]
        self._training: TrialTraining | None = None
        self._processes = ExitStack()

    def step(self) -> dict[str, Any]:
        """Ray's hook: the next report, or the end."""
        if self._training is None:
            self._training = self._start()
        return self._training.next()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Ray's hook: another trial in this process."""
        self._stop()
        self._spec = new_config["trial"]
        return True

    def cleanup(self) -> None:
        """Ray's hook: ends training with a checkpoint."""
        self._stop()

    def _start(self) -> "TrialTraining":
        params = self._env.study.trial_params(self._spec["config"], self._spec["seed"])
        device = enter(self._env, params)
        context = self._processes.enter_context(
            trial_processes(self._env, params, self._spec, device)
        )
        return TrialTraining(self._env.study, self._spec, device, context)

    def _stop(self) -> None:
        if self._training is not None:
            self._training.stop()
        self._training = None
        self._processes.close()


class TrialTraining:
    """Trains on a thread up to the next report, then pauses in the status callback until `next()`.

    A report is handed over where it is made, before its checkpoint. A trial that is stopped then
    trains one step more and saves.
    """

    def __init__(
        self, study: Study, spec: Mapping[str, Any], device: str, context: DistContext
    ) -> None:
        """`spec` is what `trial_spec` makes; `context` is that of the trial's main process."""
        self._study = study
        self._spec = spec
        self._device = device
        self._context = context
        self._params = study.trial_params(spec["config"], spec["seed"])
        self._total_nimg = run_nimg(self._params.train.total_kimg, self._params.train.batch)
        self._run_dir: Path | None = None
        self._run_key: str | None = None
        self._last: tuple[int, float | None] = 0, None
        self._results: Queue[dict[str, Any] | BaseException] = Queue()
        self._continue = threading.Semaphore(0)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trial", daemon=True)

    def next(self) -> dict[str, Any]:
        """Trains up to the next report or the end, as a result of Ray's.

        `id`, `kimg`, `value` (None: not finite), `run_dir`, `run_key`, `mlflow_run_id`; at the end
        also `done`, `outcome` (complete, failed, or unfinished after a stop), `message` and
        `obstacle`: whether it failed by something that can be fixed. Raises what training raised
        unexpectedly.
        """
        if self._thread.ident is None:
            self._thread.start()
        else:
            self._continue.release()
        result = self._results.get()
        if isinstance(result, BaseException):
            raise result
        return result

    def stop(self) -> None:
        """Ends training at its next step, with a checkpoint; returns when it has ended."""
        self._stopping.set()
        self._continue.release()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            self._results.put(self._train_to_end())
        except BaseException as error:
            self._results.put(error)

    def _train_to_end(self) -> dict[str, Any]:
        outcome, message, obstacle = "complete", "", False
        try:
            self._train()
            if self._last[0] < self._total_nimg and not self._stopping.is_set():
                raise UserError(
                    f"{self._run_dir} is trained, and its statistics have no {self._study.metric} "
                    "at the end; delete that folder to have it trained anew"
                )
        except UserError as error:
            outcome, message = "failed", str(error)
            obstacle = isinstance(error, ObstacleError)
        except Preempted as stop:
            outcome, message = "unfinished", str(stop)
        end = {"done": True, "outcome": outcome, "message": message, "obstacle": obstacle}
        return {**self._result(), **end}

    def _train(self) -> None:
        train_run(
            self._params,
            trial_paths(self._study),
            self._device,
            self._context,
            lambda: PREEMPTED if self._stopping.is_set() else None,
            RunCallbacks(on_run=self._on_run, on_status=self._on_status),
            _label(self._study, self._spec),
            _LOCK_PATIENCE_S,
        )

    def _on_run(self, run_dir: Path, run_key: str) -> None:
        self._run_dir, self._run_key = run_dir.absolute(), run_key

    def _on_status(self, nimg: int, metrics: dict[str, float], elapsed_s: float) -> None:
        study = self._study
        if study.metric not in metrics or self._stopping.is_set():
            return
        at_interval = is_due(nimg, self._params.train.batch, study.section.report_kimg)
        if at_interval or nimg >= self._total_nimg or study.is_evaluated:
            self._last = nimg, _finite(metrics[study.metric])
            self._results.put(self._result())
            self._continue.acquire()

    def _result(self) -> dict[str, Any]:
        nimg, value = self._last
        return {
            "id": self._spec["id"],
            "kimg": nimg / 1000,
            "value": value,
            "run_dir": None if self._run_dir is None else str(self._run_dir),
            "run_key": self._run_key,
            "mlflow_run_id": self._mlflow_run_id(),
        }

    def _mlflow_run_id(self) -> str | None:
        runtime = self._params.runtime
        if self._run_dir is None or runtime.tracker == "none":
            return None
        return run_id_of(self._run_dir, runtime.tracking_uri, runtime.experiment, self._total_nimg)


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None


def _label(study: Study, spec: Mapping[str, Any]) -> RunLabel:
    config, seed = spec["config"], spec["seed"]
    names = short_keys(config)
    return RunLabel(
        name=trial_name(config, seed),
        params={
            **{f"{CONFIG_PREFIX}{names[key]}": value for key, value in config.items()},
            f"{CONFIG_PREFIX}{SEED_TAG}": seed,
        },
        tags={STUDY_TAG: study.name, TRIAL_TAG: spec["id"]},
    )
