"""The MLflow tracker: `stats.jsonl` with a thread that sends it to MLflow."""

import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pipeline.data.shards.manifest import Manifest
from pipeline.tracking.connection import prepare_sdk, reason, resolve_uri, without_credentials
from pipeline.tracking.jsonl import JsonlTracker
from pipeline.tracking.run_description import RunDescription, RunLabel, describe_run
from pipeline.tracking.sync import RunSync
from pipeline.tracking.tracker import Outcome, Tracker
from pipeline.training.settings import TrainSettings

_POLL_S = 1.0
_MAX_PAUSE_S = 30.0  # between attempts when the server does not answer
_SYSTEM_S = 10.0  # between samples of the machine
_MAX_SAMPLES = 360


def open_tracker(
    run_dir: Path,
    run_key: str,
    settings: TrainSettings,
    manifest: Manifest,
    description: Mapping[str, Any],
    *,
    kind: Literal["mlflow", "none"],
    uri: str | None,
    experiment: str,
    label: RunLabel | None = None,
) -> Tracker:
    """Writes `stats.jsonl` in any case, and sends it to MLflow for kind `mlflow`.

    `description` has the variant's name and its changes.
    """
    if kind == "none":
        return JsonlTracker(run_dir)
    described = describe_run(run_key, settings, manifest, description, label)
    return MlflowTracker(run_dir, described, uri=uri, experiment=experiment)


class MlflowTracker(Tracker):
    """A JsonlTracker whose file a thread sends to MLflow, at most seconds behind.

    The same `run_dir`, address, experiment and length continue the same MLflow run. What a dead
    server missed is sent when it answers again, or by the next run of the same command.
    """

    def __init__(
        self,
        run_dir: Path,
        description: RunDescription,
        *,
        uri: str | None,
        experiment: str,
        close_s: float = 10.0,
    ) -> None:
        """Returns at once; UserError for an address that MLflow has no store for.

        `uri` None means MLFLOW_TRACKING_URI, else `mlflow.db` in the working directory. `close`
        waits at most `close_s` seconds for the server.
        """
        address = resolve_uri(uri)
        self._stats = JsonlTracker(run_dir)
        self._sync = RunSync.load(run_dir, address, experiment, description.total_nimg) or RunSync(
            run_dir, address, experiment, description
        )
        self._sync.description = description
        self._sync.progress.outcome = None
        self._sync.progress.ended = False
        self._sync.save()
        self._close_s = close_s
        self._error: Exception | None = None
        self._closing = threading.Event()
        # A daemon: a server that never answers must not keep the process from exiting.
        self._thread = threading.Thread(target=self._follow, name="mlflow-sync", daemon=True)
        self._thread.start()

    def log(self, metrics: Mapping[str, float], nimg: int, elapsed_s: float) -> None:
        self._stats.log(metrics, nimg, elapsed_s)

    def image(self, name: str, path: Path, nimg: int) -> None:
        self._stats.image(name, path, nimg)

    def close(self, outcome: Outcome) -> None:
        self._stats.close(outcome)
        self._sync.progress.outcome = outcome
        self._closing.set()
        self._thread.join(self._close_s)
        if self._sync.progress.ended:
            return
        self._sync.save()
        cause = "it has not answered yet" if self._error is None else reason(self._error)
        print(
            f"mlflow at {without_credentials(self._sync.uri)} misses {self._sync.num_unsent()} "
            f"records: {cause}; they are kept and sent by the next run of the same command",
            file=sys.stderr,
        )

    def _follow(self) -> None:
        prepare_sdk()
        samples: deque[tuple[float, dict[str, float]]] = deque(maxlen=_MAX_SAMPLES)
        system: SystemMetrics | None = None
        pause_s, sampled_s = 0.0, time.monotonic()
        while True:
            closing = self._closing.wait(pause_s)
            try:
                system = system or SystemMetrics()
                if closing or time.monotonic() - sampled_s >= _SYSTEM_S:
                    samples.append((time.time(), system.sample()))
                    sampled_s = time.monotonic()
                self._sync.send_records()
                self._sync.send_system(list(samples))
                samples.clear()
                self._sync.send_end()
                self._error, pause_s = None, _POLL_S
            except Exception as error:  # MLflow raises all kinds; close() prints the last one
                self._error, pause_s = error, min(2 * pause_s + _POLL_S, _MAX_PAUSE_S)
            if closing:
                return


class SystemMetrics:
    """Samples the CPU, memory and, where its library is installed, NVIDIA devices."""

    def __init__(self) -> None:
        import psutil

        self._psutil = psutil
        psutil.cpu_percent()  # the first call starts the measurement
        self._gpu = _gpu_monitor()

    def sample(self) -> dict[str, float]:
        """Values since the last sample under MLflow's names: percent and megabytes."""
        memory = self._psutil.virtual_memory()
        values = {
            "system/cpu_utilization_percentage": float(self._psutil.cpu_percent()),
            "system/system_memory_usage_megabytes": memory.used / 1e6,
            "system/system_memory_usage_percentage": float(memory.percent),
            "system/process_memory_usage_megabytes": self._psutil.Process().memory_info().rss / 1e6,
        }
        if self._gpu is not None:
            self._gpu.collect_metrics()
            values |= {f"system/{k}": float(v) for k, v in self._gpu.aggregate_metrics().items()}
            self._gpu.clear_metrics()
        return values


def _gpu_monitor() -> Any:
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

    try:
        return GPUMonitor()
    except (ImportError, RuntimeError):  # no library, no device
        return None
