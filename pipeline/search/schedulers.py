"""Ray's schedulers, with all that they decide by in the study's journal.

Ray does not keep a scheduler's state over a restore (issue 30838 of its repository); here it is
made anew from the journal.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from pipeline.search.journal import Event
from pipeline.search.recorder import Recorder

_WORST = 1e30  # for a value that is not finite; with infinity Ray's percentiles are not numbers


class Recorded:
    """Beside one of Ray's schedulers: every report and every end is recorded first."""

    recorder: Recorder

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Ray's hook for a report."""
        self.recorder.report(result)
        if result["kimg"] >= self.recorder.study.section.max_kimg:
            return TrialScheduler.CONTINUE  # it ends by itself
        return self.decide(tune_controller, trial, {**result, "value": self._number(result)})

    def decide(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Whether the trial goes on; `value` is a number here."""
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

    def _number(self, result: dict[str, Any]) -> float:
        if result["value"] is not None:
            return result["value"]
        return _WORST if self.recorder.study.section.mode == "min" else -_WORST


class InOrder(Recorded, FIFOScheduler):
    """Every trial is trained to its end."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        super().__init__()


@dataclass(frozen=True)
class _Named:
    """As much of Ray's trial as rungs need, under the study's own id."""

    trial_id: str


class Halving(Recorded, FIFOScheduler):
    """ASHA (Li et al. 2020, arXiv 1810.05934) on kimg, whose rungs outlive the driver.

    Trials are compared with those of the same seed: seeds differ more than configurations do.
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
                self._judge(event["id"], {**event, "value": self._number(event)})

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Ray's hook for a new trial."""
        self._add(trial.config["trial"]["id"])

    def decide(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        return self._judge(result["id"], result)

    def rungs(self, seed: int) -> dict[float, dict[str, float]]:
        """By kimg, the values of the trials of a seed that reached it."""
        sign = 1 if self.recorder.study.section.mode == "max" else -1
        return {
            kimg: {id: sign * value for id, value in recorded.items()}
            for kimg, recorded in self._of_seed[seed]._brackets[0]._rungs
        }

    def _add(self, id: str) -> None:
        nobody, name = cast(Any, None), cast(Any, _Named(id))
        self._of_seed[self._seed(id)].on_trial_add(nobody, name)

    def _judge(self, id: str, result: dict[str, Any]) -> str:
        # A trial that was told to stop and killed before it could is told again.
        if id not in self._behind:
            nobody, name = cast(Any, None), cast(Any, _Named(id))
            decision = self._of_seed[self._seed(id)].on_trial_result(nobody, name, result)
            if decision == TrialScheduler.STOP:
                self._behind.add(id)
        return TrialScheduler.STOP if id in self._behind else TrialScheduler.CONTINUE

    def _seed(self, id: str) -> int:
        return self.recorder.history.trials[id].seed
