"""A study's journal: `journal.jsonl`, the history that its events add up to, and the recorder.

Every event is on disk before anything follows from it. The state of searchers and schedulers is a
function of the events, so a study that was killed at any moment resumes where it was.
"""

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pipeline.core.errors import UserError
from pipeline.search.space import Config, trial_id
from pipeline.search.study import Study
from pipeline.storage.json_lines import append_line, complete_lines, cut_torn_line

JOURNAL_NAME = "journal.jsonl"

Event = dict[str, Any]
"""JSON values; `event` is its kind: trial, report, end, tracked or retry."""
Status = Literal["unfinished", "complete", "stopped", "failed"]
"""stopped: early, by the scheduler; failed: it cannot be trained to the end."""

_RUN_KEYS = ("run_dir", "run_key", "mlflow_run_id")


class Journal:
    """Appends events to the file; one process at a time."""

    def __init__(self, path: Path) -> None:
        """Cuts off a torn last line, which a killed process may have left."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        cut_torn_line(path)

    def append(self, event: Event) -> None:
        """Returns when the event is on disk; on a full disk the file stays as it was."""
        line = json.dumps(event, allow_nan=False) + "\n"
        with open(self._path, "ab", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            try:
                append_line(file, line)
                os.fsync(file.fileno())
            except OSError:
                file.truncate(size)
                raise


def read_journal(path: Path) -> list[Event]:
    """The events of a file, none if it does not exist; a torn last line is skipped.

    Raises UserError for a damaged line.
    """
    if not path.exists():
        return []
    events = []
    for number, line in enumerate(complete_lines(path.read_bytes()), start=1):
        try:
            event = json.loads(line)
            event["event"]
        except (ValueError, KeyError, TypeError):
            raise UserError(
                f"{path}, line {number} is damaged; take it out, or start the study afresh with "
                "--restart (finished runs are found again)"
            ) from None
        events.append(event)
    return events


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
    """Of the configuration; trials of several seeds share it."""
    seed: int
    config: Config
    reports: tuple[Report, ...] = ()
    """Ascending in kimg."""
    status: Status = "unfinished"
    message: str = ""
    """Why it failed."""
    died: bool = False
    """Whether it failed by its processes or its disk, so that a retry may succeed."""
    run_dir: str | None = None
    run_key: str | None = None
    mlflow_run_id: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether it has ended for good."""
        return self.status != "unfinished"

    @property
    def kimg(self) -> float:
        """Of the last report."""
        return self.reports[-1].kimg if self.reports else 0.0

    @property
    def value(self) -> float | None:
        """Of the last report."""
        return self.reports[-1].value if self.reports else None


@dataclass(kw_only=True)
class History:
    """All trials of a study."""

    trials: dict[str, Trial] = field(default_factory=dict)
    """By id, in the order of creation."""

    def apply(self, event: Event) -> bool:
        """Applies an event; whether it changed anything.

        A trial that resumed from a checkpoint repeats its reports, which changes nothing.
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
            known = {name: event.get(name) for name in _RUN_KEYS}
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
            raise ValueError(f"unknown kind of event: {kind}")
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
    """The history that events add up to."""
    history = History()
    for event in events:
        history.apply(event)
    return history


class Recorder:
    """The driver's journal and history together: every event is written before it is acted on."""

    def __init__(
        self, study: Study, journal: Journal, history: History, on_end: Callable[[Trial], None]
    ) -> None:
        """`on_end` is called after a trial's end is on disk."""
        self.study = study
        self.history = history
        self.interrupted: str | None = None
        """Why the driver is stopping; trials that end from then on stay unfinished."""
        self._journal = journal
        self._on_end = on_end

    def add_trials(self, index: int, config: Config) -> list[Trial]:
        """Creates the trials of a configuration, one for each seed."""
        events = trial_events(self.study, index, config)
        for event in events:
            self._record(event)
        return [self.history.trials[event["id"]] for event in events]

    def report(self, result: Mapping[str, Any]) -> None:
        """A trial's report: `id`, `kimg`, `value` and the keys of its run."""
        keys = ("id", "kimg", "value", *_RUN_KEYS)
        self._record({"event": "report", **{name: result.get(name) for name in keys}})

    def retry_dead(self) -> None:
        """Makes trials unfinished again whose processes died too often."""
        for trial in list(self.history.trials.values()):
            if trial.died:
                self._record({"event": "retry", "id": trial.id})

    def end(
        self,
        id: str,
        status: Status,
        message: str = "",
        mlflow_run_id: str | None = None,
        died: bool = False,
    ) -> None:
        """Records the end of a trial; an unfinished, preempted one has none."""
        if status == "unfinished" or self.history.trials[id].is_over:
            return
        event = {"event": "end", "id": id, "status": status, "message": message, "died": died}
        self._record({**event, "mlflow_run_id": mlflow_run_id})
        self._on_end(self.history.trials[id])

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Ray pickles its callbacks, and a study resumes from the journal."""
        return {}

    def _record(self, event: Event) -> None:
        if self.history.apply(event):
            self._journal.append({**event, "time": round(time.time(), 3)})


def trial_events(study: Study, index: int, config: Config) -> list[Event]:
    """The events that create a configuration's trials, one for each seed."""
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
