"""What a study knows of its trials: the fold of its journal."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from pipeline.search.journal import Event
from pipeline.search.study import Config

Status = Literal["unfinished", "complete", "stopped", "failed"]
"""stopped: early, by the scheduler; failed: it cannot be trained to the end."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """A value of the metric."""

    kimg: float
    value: float | None
    """None: it was not finite."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One run of the study: a configuration with a seed."""

    id: str
    index: int
    """Which configuration; trials of several seeds share it."""
    seed: int
    config: Config
    reports: tuple[Report, ...] = ()
    """Ascending in kimg."""
    status: Status = "unfinished"
    message: str = ""
    """Why it failed."""
    died: bool = False
    """Whether it failed by its processes or its disk, which another time may hold."""
    run_dir: str | None = None
    run_key: str | None = None
    mlflow_run_id: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.status != "unfinished"

    @property
    def kimg(self) -> float:
        """How far it was trained, by its last report."""
        return self.reports[-1].kimg if self.reports else 0.0

    @property
    def value(self) -> float | None:
        """The last value of the metric."""
        return self.reports[-1].value if self.reports else None


@dataclass(kw_only=True)
class History:
    """All trials of a study."""

    trials: dict[str, Trial] = field(default_factory=dict)
    """By id, in the order of their making."""

    def apply(self, event: Event) -> bool:
        """Takes an event; whether it says anything new.

        A trial that went back to a checkpoint repeats its reports, which says nothing.
        """
        kind, key = event["event"], event["id"]
        if kind == "trial":
            if key in self.trials:
                return False
            self.trials[key] = Trial(
                id=key, index=event["index"], seed=event["seed"], config=event["config"]
            )
            return True
        trial = self.trials[key]
        if kind == "report":
            known = {name: event.get(name) for name in ("run_dir", "run_key", "mlflow_run_id")}
            changed = replace(trial, **{name: v for name, v in known.items() if v is not None})
            if event["kimg"] > trial.kimg:
                report = Report(kimg=event["kimg"], value=event["value"])
                changed = replace(changed, reports=(*changed.reports, report))
        elif kind == "end":
            changed = replace(
                trial,
                status=event["status"],
                message=event.get("message", ""),
                died=event.get("died", False),
                mlflow_run_id=event.get("mlflow_run_id") or trial.mlflow_run_id,
            )
        elif kind == "tracked":
            changed = replace(trial, mlflow_run_id=event["mlflow_run_id"])
        elif kind == "retry":
            changed = replace(trial, status="unfinished", message="", died=False)
        else:
            raise ValueError(f"an event of a later version: {kind}")
        self.trials[key] = changed
        return changed != trial

    def of_index(self, index: int) -> list[Trial]:
        """The trials of one configuration."""
        return [trial for trial in self.trials.values() if trial.index == index]

    @property
    def num_configs(self) -> int:
        """Configurations that have a trial."""
        return len({trial.index for trial in self.trials.values()})


def fold(events: Iterable[Event]) -> History:
    """The history that events make."""
    history = History()
    for event in events:
        history.apply(event)
    return history
