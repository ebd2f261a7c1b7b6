"""Brings an MLflow run up to date with a run folder; every call may fail and be made again."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pipeline.tracking.connection import connect, experiment_id
from pipeline.tracking.jsonl import STATS_NAME, ImageRecord, MetricsRecord, parse_record
from pipeline.tracking.run_identity import TOTAL_NIMG_TAG, RunIdentity
from pipeline.tracking.tracker import Outcome

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

# MLflow's limits for one call and one value.
_MAX_METRICS = 1000
_MAX_PARAMS = 100
_MAX_PARAM_LENGTH = 6000
_MAX_DATASET_DIGEST = 36

STATUSES: Mapping[Outcome, str] = {
    "finished": "FINISHED",
    "preempted": "KILLED",
    "failed": "FAILED",
}
"""MLflow's word for how training ended."""

Record = MetricsRecord | ImageRecord | None


class Mirror:
    """The MLflow run of one run folder.

    Nothing shows twice: progress is saved after each call, what a resumed run repeats is passed
    over, and of two equal points, should a kill have come between call and save, MLflow keeps one.
    """

    def __init__(self, identity: RunIdentity) -> None:
        self.identity = identity
        self._connection: tuple[MlflowClient, str] | None = None

    def open(self) -> "tuple[MlflowClient, str]":
        """The client and the id of the run, which is found or made at the first call."""
        if self._connection is None:
            client = connect(self.identity.uri)
            run = self._find_run(client) or self._create_run(client)
            self._describe(client, run)
            if self.identity.progress.outcome is None:
                client.update_run(run.info.run_id, status="RUNNING")
            self._connection = client, run.info.run_id
        return self._connection

    def send_records(self) -> None:
        """Sends what `stats.jsonl` holds beyond what was sent."""
        self.open()
        batch: list[Metric] = []
        newest = self.identity.progress.metrics_nimg
        previous = self.identity.progress.offset
        for record, end in self._pending():
            if isinstance(record, ImageRecord):
                self._send_metrics(batch, previous)
                self._send_image(record, end)
            elif isinstance(record, MetricsRecord) and record.nimg > newest:
                newest = record.nimg
                batch += _metrics(record.metrics, record.time, record.nimg)
                if len(batch) >= _MAX_METRICS // 2:
                    self._send_metrics(batch, end)
            previous = end
        self._send_metrics(batch, previous)

    def send_system(self, samples: list[tuple[float, dict[str, float]]]) -> None:
        """Sends samples of (seconds since the epoch, values) at the newest nimg that was sent."""
        nimg = max(self.identity.progress.metrics_nimg, 0)
        self._log_batch([m for time_s, values in samples for m in _metrics(values, time_s, nimg)])

    def send_end(self) -> None:
        """Tells MLflow how training ended, if it did."""
        progress = self.identity.progress
        if progress.outcome is None or progress.ended:
            return
        client, run_id = self.open()
        client.set_terminated(run_id, STATUSES[progress.outcome])
        progress.ended = True
        self.identity.save()

    def num_pending(self) -> int:
        """Records that were not sent yet; asks no server."""
        return sum(1 for _ in self._pending())

    def _find_run(self, client: "MlflowClient") -> "Run | None":
        from mlflow.exceptions import MlflowException

        run_id = self.identity.progress.run_id
        if run_id is None:
            return None
        try:
            run = client.get_run(run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return run if run.info.lifecycle_stage == "active" else None

    def _create_run(self, client: "MlflowClient") -> "Run":
        identity = self.identity
        experiment = experiment_id(client, identity.uri, identity.experiment)
        run = client.create_run(experiment, run_name=identity.description.run_name)
        identity.start_over(run.info.run_id)
        return run

    def _describe(self, client: "MlflowClient", run: "Run") -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag

        description = self.identity.description
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

    def _send_metrics(self, batch: "list[Metric]", offset: int) -> None:
        progress = self.identity.progress
        if batch:
            self._log_batch(batch)
            progress.metrics_nimg = batch[-1].step
            batch.clear()
        if offset != progress.offset:
            progress.offset = offset
            self.identity.save()

    def _log_batch(self, batch: "list[Metric]") -> None:
        client, run_id = self.open()
        for start in range(0, len(batch), _MAX_METRICS):
            client.log_batch(run_id, metrics=batch[start : start + _MAX_METRICS])

    def _send_image(self, record: ImageRecord, offset: int) -> None:
        progress = self.identity.progress
        path = self.identity.folder / record.path
        if record.nimg > progress.image_nimg.get(record.name, -1) and path.exists():
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
            # Swapped, not changed: another thread may be saving it.
            progress.image_nimg = progress.image_nimg | {record.name: record.nimg}
        progress.offset = offset
        self.identity.save()

    def _pending(self) -> Iterator[tuple[Record, int]]:
        """Each complete line after the offset, None if not of this run, and where it ends."""
        path = self.identity.folder / STATS_NAME
        if not path.exists():
            return
        start = self.identity.progress.offset
        if start > path.stat().st_size:
            start = 0  # another file of the same name; the nimg say what is new in it
        with path.open("rb") as file:
            file.seek(start)
            content = file.read()
        for line in content[: content.rfind(b"\n") + 1].splitlines(keepends=True):
            start += len(line)
            try:
                record = parse_record(line)
            except ValueError:
                record = None
            if record is not None and record.nimg > self.identity.description.total_nimg:
                record = None
            yield record, start


def _metrics(values: Mapping[str, float], time_s: float, nimg: int) -> "list[Metric]":
    from mlflow.entities import Metric

    return [Metric(name, value, round(time_s * 1000), nimg) for name, value in values.items()]
