"""Ray Tune's searcher and schedulers, whose state is a function of the study's journal.

Ray does not restore the state of a scheduler (ray-project/ray issue 30838), so each is rebuilt from
the events.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from pipeline.search.journal import Event, Recorder, Trial
from pipeline.search.proposals import propose

_WORST = 1e30  # in place of a value that is not finite: Ray's percentiles of infinity are nan


class JournaledSearcher(Searcher):
    """Suggests unfinished trials first, then the study's proposals."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__(metric="value", mode=recorder.study.section.mode)
        self._recorder = recorder
        trials = recorder.history.trials.values()
        self._waiting = deque(trial for trial in trials if not trial.is_over)

    def suggest(self, trial_id: str) -> Any:
        """Ray's hook: the next trial's spec, or FINISHED."""
        if self._recorder.interrupted is not None:
            return Searcher.FINISHED
        if not self._waiting:
            history = self._recorder.history
            config = propose(self._recorder.study, history)
            if config is None:
                return Searcher.FINISHED
            self._waiting += self._recorder.add_trials(history.num_configs, config)
        return {"trial": trial_spec(self._waiting.popleft())}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Ray's hook; the schedulers record ends."""

    def save(self, checkpoint_path: str) -> None:
        """Ray's hook; the journal has the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Ray's hook; the journal has the state."""


def trial_spec(trial: Trial) -> dict[str, Any]:
    """The trial as its process gets it: `id`, `index`, `seed` and `config`."""
    return {
        "id": trial.id,
        "index": trial.index,
        "seed": trial.seed,
        "config": trial.config,
    }


class _Journaled:
    """Mixin for a scheduler of Ray: records every report and end before a decision follows."""

    recorder: Recorder

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Ray's hook for a report."""
        self.recorder.report(result)
        if result["kimg"] >= self.recorder.study.section.max_kimg:
            return TrialScheduler.CONTINUE  # it ends by itself
        return self.decide(tune_controller, trial, {**result, "value": self._finite_value(result)})

    def decide(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Whether the trial continues; `value` is finite here."""
        return super().on_trial_result(tune_controller, trial, result)  # type: ignore[misc]

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Ray's hook for an end: the trial's own, a scheduler's decision, or the driver's."""
        if "outcome" in result:
            self.recorder.end(
                result["id"],
                result["outcome"],
                result["message"],
                result["mlflow_run_id"],
                died=result["obstacle"],
            )
        elif self.recorder.interrupted is None:
            self.recorder.end(result["id"], "stopped", "", result["mlflow_run_id"])

    def _finite_value(self, result: dict[str, Any]) -> float:
        if result["value"] is not None:
            return result["value"]
        return _WORST if self.recorder.study.section.mode == "min" else -_WORST


class JournaledFIFO(_Journaled, FIFOScheduler):
    """Trains every trial to its end."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        super().__init__()


@dataclass(frozen=True)
class _TrialId:
    """The one attribute of Ray's trial that rungs use; the study's ids survive the driver."""

    trial_id: str


class JournaledASHA(_Journaled, FIFOScheduler):
    """ASHA (Li et al. 2020, arXiv 1810.05934) on kimg, with rungs rebuilt from the journal.

    Trials are compared within their seed: seeds differ more than configurations do.
    """

    def __init__(self, recorder: Recorder, events: Iterable[Event]) -> None:
        """`events` of the study so far fill the rungs."""
        self.recorder = recorder
        self._behind: set[str] = set()
        section = recorder.study.section
        self._of_seed = {
            seed: AsyncHyperBandScheduler(
                time_attr="kimg",
                metric="value",
                mode=section.mode,
                max_t=section.max_kimg,  # type: ignore[arg-type]
                grace_period=section.first_rung_kimg,  # type: ignore[arg-type]
                reduction_factor=section.reduction_factor,
            )
            for seed in section.seeds
        }
        super().__init__()
        for event in events:
            if event["event"] == "trial":
                self._add(event["id"])
            elif event["event"] == "report" and event["kimg"] < section.max_kimg:
                self._judge(event["id"], {**event, "value": self._finite_value(event)})

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Ray's hook for a new trial."""
        self._add(trial.config["trial"]["id"])

    def decide(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        return self._judge(result["id"], result)

    def debug_string(self) -> str:
        """Ray's hook: the rungs of each seed with the values below which trials stop."""
        return "\n".join(f"seed {s}: {asha.debug_string()}" for s, asha in self._of_seed.items())

    def _add(self, id: str) -> None:
        controller, trial = cast(Any, None), cast(Any, _TrialId(id))  # the controller is unused
        self._of_seed[self._seed(id)].on_trial_add(controller, trial)

    def _judge(self, id: str, result: dict[str, Any]) -> str:
        # A trial that was killed after its stop was decided gets the same decision again.
        if id not in self._behind:
            controller, trial = cast(Any, None), cast(Any, _TrialId(id))
            decision = self._of_seed[self._seed(id)].on_trial_result(controller, trial, result)
            if decision == TrialScheduler.STOP:
                self._behind.add(id)
        return TrialScheduler.STOP if id in self._behind else TrialScheduler.CONTINUE

    def _seed(self, id: str) -> int:
        return self.recorder.history.trials[id].seed
