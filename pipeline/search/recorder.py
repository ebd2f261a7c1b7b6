"""What the driver of a study does with news of its trials: journal, history, results on disk."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from pipeline.search.history import History, Status, Trial
from pipeline.search.journal import Event, Journal
from pipeline.search.study import Config, Study, trial_id

_FACTS = ("run_dir", "run_key", "mlflow_run_id")


class Recorder:
    """Everything that a searcher or a scheduler decides by goes through it first."""

    def __init__(
        self, study: Study, journal: Journal, history: History, on_end: Callable[[Trial], None]
    ) -> None:
        """`on_end` is called after a trial's end is on disk."""
        self.study = study
        self.history = history
        self.interrupted: str | None = None
        """Why the driver is stopping; trials that end from then on are not over."""
        self._journal = journal
        self._on_end = on_end

    def add_trials(self, index: int, config: Config) -> list[Trial]:
        """Makes the trials of a configuration, one a seed."""
        events = trial_events(self.study, index, config)
        for event in events:
            self._tell(event)
        return [self.history.trials[event["id"]] for event in events]

    def report(self, result: Mapping[str, Any]) -> None:
        """A trial's report: `id`, `kimg`, `value` and what is known of its run."""
        self._tell(
            {
                "event": "report",
                **{name: result.get(name) for name in ("id", "kimg", "value", *_FACTS)},
            }
        )

    def retry_dead(self) -> None:
        """Gives trials whose processes died too often another time."""
        for trial in list(self.history.trials.values()):
            if trial.died:
                self._tell({"event": "retry", "id": trial.id})

    def end(
        self,
        id: str,
        status: Status,
        message: str = "",
        mlflow_run_id: str | None = None,
        died: bool = False,
    ) -> None:
        """A trial is over; not so where it only was preempted."""
        if status == "unfinished" or self.history.trials[id].is_over:
            return
        event = {"event": "end", "id": id, "status": status, "message": message, "died": died}
        self._tell({**event, "mlflow_run_id": mlflow_run_id})
        self._on_end(self.history.trials[id])

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Ray saves what it is given, and here the journal is what is gone on from."""
        return {}

    def _tell(self, event: Event) -> None:
        if self.history.apply(event):
            self._journal.append({**event, "time": round(time.time(), 3)})


def trial_events(study: Study, index: int, config: Config) -> list[Event]:
    """The making of a configuration's trials, one a seed."""
    return [
        {
            "event": "trial",
            "id": trial_id(index, seed),
            "index": index,
            "seed": seed,
            "config": config,
        }
        for seed in study.section.seeds
    ]
