"""Brings an MLflow run up to date with the `stats.jsonl` of a run folder."""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pipeline.storage.atomic import write_json
from pipeline.storage.json_lines import complete_lines
from pipeline.tracking.connection import connect, experiment_id, without_credentials
from pipeline.tracking.jsonl import STATS_NAME, ImageRecord, MetricsRecord, parse_record
from pipeline.tracking.run_description import TOTAL_NIMG_TAG, DatasetInfo, RunDescription
from pipeline.tracking.tracker import Outcome

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

STATUSES: Mapping[Outcome, str] = {
    "finished": "FINISHED",
    "preempted": "KILLED",
    "failed": "FAILED",
}
"""MLflow's status of a run that ended so."""

# MLflow's limits for one request and one value.
_MAX_METRICS = 1000
_MAX_PARAMS = 100
_MAX_PARAM_LENGTH = 6000
_MAX_DATASET_DIGEST = 36

_METRICS = "metrics"  # key of `SyncProgress.sent_nimg`


@dataclass(kw_only=True)
class SyncProgress:
    """What the MLflow run has of the run folder."""

    run_id: str | None = None
    """None until the run was created."""
    sent_nimg: dict[str, int] = field(default_factory=dict)
    """Newest nimg that was sent, of `metrics` and of the images of each name, `image/NAME`."""
    outcome: Outcome | None = None
    """How training ended; None while it runs."""
    ended: bool = False
    """Whether MLflow has the outcome."""


class RunSync:
    """One MLflow run of one run folder; every call may fail and be repeated.

    The file `mlflow-<suffix>.json` in the folder, one for each store, experiment and length, keeps
    the description and the progress. A record is sent if its nimg is newer than the last one sent,
    which also skips what a resumed run repeats. After a kill between a request and the save, the
    metrics are sent again, and MLflow keeps one of two equal points.
    """

    def __init__(
        self,
        folder: Path,
        uri: str,
        experiment: str,
        description: RunDescription,
        keep: bool = True,
    ) -> None:
        """`uri` is resolved; with `keep` false nothing is written to the folder."""
        self.folder = folder
        self.uri = uri
        self.description = description
        self.progress = SyncProgress()
        self._experiment = experiment
        self._keep = keep
        self._lock = threading.Lock()
        self._connection: tuple[MlflowClient, str] | None = None
        self._position = 0  # byte of stats.jsonl up to which all records were sent

    @classmethod
    def load(cls, folder: Path, uri: str, experiment: str, total_nimg: int) -> Self | None:
        """What the folder has for a store; None if there is no file or a damaged one."""
        try:
            path = _path(folder, uri, experiment, total_nimg)
            content = json.loads(path.read_text(encoding="utf-8"))
            dataset = content["description"].pop("dataset")
            description = RunDescription(
                **content["description"],
                dataset=None if dataset is None else DatasetInfo(**dataset),
            )
            sync = cls(folder, uri, experiment, description)
            known = {f.name for f in fields(SyncProgress)}
            sync.progress = SyncProgress(
                **{key: value for key, value in content["progress"].items() if key in known}
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None  # a second MLflow run is better than none
        return sync

    def save(self) -> None:
        """Writes the file; safe from several threads."""
        if not self._keep:
            return
        with self._lock:
            content = {
                "uri": without_credentials(self.uri),
                "experiment": self._experiment,
                "description": asdict(self.description),
                "progress": asdict(self.progress),
            }
            length = self.description.total_nimg
            write_json(_path(self.folder, self.uri, self._experiment, length), content)

    def open(self) -> "tuple[MlflowClient, str]":
        """The client and the id of the run, which the first call finds or creates."""
        if self._connection is None:
            client = connect(self.uri)
            run = self._find_run(client) or self._create_run(client)
            self._describe(client, run)
            if self.progress.outcome is None:
                client.update_run(run.info.run_id, status="RUNNING")
            self._connection = client, run.info.run_id
        return self._connection

    def send_records(self) -> None:
        """Sends the records of `stats.jsonl` that the run does not have."""
        self.open()
        lines, end = self._lines_from(self._position)
        batch: list[Metric] = []
        for record in self._unsent(lines):
            if isinstance(record, ImageRecord):
                self._send_metrics(batch)
                self._send_image(record)
            else:
                batch += _metrics(record.metrics, record.time, record.nimg)
                if len(batch) >= _MAX_METRICS // 2:
                    self._send_metrics(batch)
        self._send_metrics(batch)
        self._position = end

    def send_system(self, samples: list[tuple[float, dict[str, float]]]) -> None:
        """Sends samples of (seconds since the epoch, values) at the newest nimg that was sent."""
        nimg = self.progress.sent_nimg.get(_METRICS, 0)
        self._log_batch([m for time_s, values in samples for m in _metrics(values, time_s, nimg)])

    def send_end(self) -> None:
        """Sets the run's status if training has ended."""
        progress = self.progress
        if progress.outcome is None or progress.ended:
            return
        client, run_id = self.open()
        client.set_terminated(run_id, STATUSES[progress.outcome])
        progress.ended = True
        self.save()

    def num_unsent(self) -> int:
        """Records that were not sent yet; needs no server."""
        return sum(1 for _ in self._unsent(self._lines_from(0)[0]))

    def _find_run(self, client: "MlflowClient") -> "Run | None":
        from mlflow.exceptions import MlflowException

        if self.progress.run_id is None:
            return None
        try:
            run = client.get_run(self.progress.run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return run if run.info.lifecycle_stage == "active" else None

    def _create_run(self, client: "MlflowClient") -> "Run":
        experiment = experiment_id(client, self.uri, self._experiment)
        run = client.create_run(experiment, run_name=self.description.run_name)
        # In place: another thread may be setting the outcome.
        self.progress.run_id = run.info.run_id
        self.progress.sent_nimg = {}
        self.save()
        return run

    def _describe(self, client: "MlflowClient", run: "Run") -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag

        description = self.description
        params = {key: value[:_MAX_PARAM_LENGTH] for key, value in description.params.items()}
        missing = [Param(key, params[key]) for key in params if key not in run.data.params]
        for start in range(0, len(missing), _MAX_PARAMS):
            client.log_batch(run.info.run_id, params=missing[start : start + _MAX_PARAMS])
        tags = description.tags | {TOTAL_NIMG_TAG: str(description.total_nimg)}
        client.log_batch(run.info.run_id, tags=[RunTag(k, v) for k, v in tags.items()])
        if description.dataset is not None:
            dataset = Dataset(
                name=description.dataset.name,
                digest=description.dataset.digest[:_MAX_DATASET_DIGEST],
                source_type="local",
                source=description.dataset.source,
            )
            context = InputTag("mlflow.data.context", "training")
            client.log_inputs(run.info.run_id, [DatasetInput(dataset, [context])])

    def _send_metrics(self, batch: "list[Metric]") -> None:
        if batch:
            self._log_batch(batch)
            self._advance(_METRICS, batch[-1].step)
            batch.clear()

    def _log_batch(self, batch: "list[Metric]") -> None:
        client, run_id = self.open()
        for start in range(0, len(batch), _MAX_METRICS):
            client.log_batch(run_id, metrics=batch[start : start + _MAX_METRICS])

    def _send_image(self, record: ImageRecord) -> None:
        path = self.folder / record.path
        if path.exists():
            from PIL import Image

            client, run_id = self.open()
            with Image.open(path) as image:
                client.log_image(
                    run_id,
                    image.convert("RGB"),
                    key=record.name,
                    step=record.nimg,
                    timestamp=round(record.time * 1000),
                )
        self._advance(_key(record), record.nimg)

    def _advance(self, key: str, nimg: int) -> None:
        # A new dict: another thread may be saving the old one.
        self.progress.sent_nimg = self.progress.sent_nimg | {key: nimg}
        self.save()

    def _lines_from(self, start: int) -> tuple[list[bytes], int]:
        """The complete lines of `stats.jsonl` from a byte on, and where they end."""
        path = self.folder / STATS_NAME
        if not path.exists():
            return [], 0
        with path.open("rb") as file:
            file.seek(start)
            content = file.read()
        return complete_lines(content), start + content.rfind(b"\n") + 1

    def _unsent(self, lines: list[bytes]) -> Iterator[MetricsRecord | ImageRecord]:
        newest = dict(self.progress.sent_nimg)
        for line in lines:
            try:
                record = parse_record(line)
            except ValueError:
                continue
            if record is None:
                continue
            if newest.get(_key(record), -1) < record.nimg <= self.description.total_nimg:
                newest[_key(record)] = record.nimg
                yield record


def _key(record: MetricsRecord | ImageRecord) -> str:
    return f"image/{record.name}" if isinstance(record, ImageRecord) else _METRICS


def _metrics(values: Mapping[str, float], time_s: float, nimg: int) -> "list[Metric]":
    from mlflow.entities import Metric

    return [Metric(name, value, round(time_s * 1000), nimg) for name, value in values.items()]


def _path(folder: Path, uri: str, experiment: str, total_nimg: int) -> Path:
    suffix = hashlib.sha256(f"{uri}\n{experiment}\n{total_nimg}".encode()).hexdigest()[:8]
    return folder / f"mlflow-{suffix}.json"
