"""Writes `stats.jsonl` and shows it in MLflow, from a thread that no server can hold up."""

import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.tracking.connection import prepare_sdk, reason, resolve_uri, without_credentials
from pipeline.tracking.jsonl import JsonlTracker
from pipeline.tracking.mirror import Mirror
from pipeline.tracking.run_identity import DatasetInfo, RunDescription, RunIdentity, flatten
from pipeline.tracking.system_metrics import SystemMetrics
from pipeline.tracking.tracker import Outcome, Tracker

_POLL_S = 1.0
_MAX_PAUSE_S = 30.0  # between attempts at a dead server
_SYSTEM_S = 10.0  # between samples of the machine
_MAX_SAMPLES = 360


class MlflowTracker(Tracker):
    """A JsonlTracker whose file a thread mirrors in MLflow, at most seconds behind.

    The same `run_dir`, address, experiment and length continue the same MLflow run, and what a
    dead server missed is sent when it is back or at the next run of the same command.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        uri: str | None,
        experiment: str,
        run_name: str,
        total_nimg: int,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        dataset: DatasetInfo | None = None,
        close_s: float = 10.0,
    ) -> None:
        """Returns at once; UserError for an address that is none.

        `uri` None means MLFLOW_TRACKING_URI, else `mlflow.db` in the working folder. `params` may
        be nested; `tags` hold at least `run_key`. `close` waits at most `close_s` seconds.
        """
        address = resolve_uri(uri)
        self._stats = JsonlTracker(run_dir)
        description = RunDescription(
            run_name=run_name,
            total_nimg=total_nimg,
            params=flatten(params),
            tags=dict(tags),
            dataset=dataset,
        )
        self._identity = RunIdentity.load(run_dir, address, experiment, total_nimg) or RunIdentity(
            run_dir, address, experiment, description
        )
        self._identity.description = description
        self._identity.progress.outcome = None
        self._identity.progress.ended = False
        self._identity.save()
        self._close_s = close_s
        self._error: Exception | None = None
        self._closing = threading.Event()
        # A daemon: a server that never answers must not keep the process from ending.
        self._thread = threading.Thread(target=self._follow, name="mlflow-mirror", daemon=True)
        self._thread.start()

    def log(self, metrics: Mapping[str, float], nimg: int, elapsed_s: float) -> None:
        self._stats.log(metrics, nimg, elapsed_s)

    def image(self, name: str, path: Path, nimg: int) -> None:
        self._stats.image(name, path, nimg)

    def close(self, outcome: Outcome) -> None:
        self._stats.close(outcome)
        self._identity.progress.outcome = outcome
        self._closing.set()
        self._thread.join(self._close_s)
        if self._identity.progress.ended:
            return
        self._identity.save()
        cause = "it has not answered yet" if self._error is None else reason(self._error)
        print(
            f"mlflow at {without_credentials(self._identity.uri)} misses "
            f"{Mirror(self._identity).num_pending()} records: {cause}; "
            "they are kept and sent by the next run of the same command",
            file=sys.stderr,
        )

    def _follow(self) -> None:
        prepare_sdk()
        mirror = Mirror(self._identity)
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
                mirror.send_records()
                mirror.send_system(list(samples))
                samples.clear()
                mirror.send_end()
                self._error, pause_s = None, _POLL_S
            except Exception as error:  # whatever ails MLflow, training goes on; close() reports it
                self._error, pause_s = error, min(2 * pause_s + _POLL_S, _MAX_PAUSE_S)
            if closing:
                return
