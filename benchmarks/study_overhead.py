"""What a study spends beside training: `python -m benchmarks.study_overhead [--json]`.

Studies by `tune.py` as anybody runs them, with Ray, MLflow on SQLite, journal, page and pictures:
many trials of one step, and a few of a minute one after the other. All that is not training itself
counts, the making of networks and the opening of data sets included.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from pipeline.data.ingest.dataset import write_dataset
from pipeline.data.ingest.preprocessing import Preprocessing
from pipeline.data.sources.select import open_source
from pipeline.tracking.jsonl import STATS_NAME, read_stats

_ROOT = Path(__file__).resolve().parents[1]
_BATCH = 32
_SAMPLE_S = 1.0


@dataclass(frozen=True, kw_only=True)
class _Span:
    """Seconds since the epoch."""

    began: float
    ended: float


@dataclass(frozen=True, kw_only=True)
class _Outcome(_Span):
    """Of a whole study, from the command to its end."""

    peak_bytes: int
    """Most that all processes together had to themselves at a time."""


def measure(num_trivial: int, num_long: int, seconds: float) -> dict[str, Any]:
    """Runs both studies in a folder of their own."""
    with tempfile.TemporaryDirectory() as name:
        project = Path(name)
        write_dataset(
            open_source("digits"),
            project / "data" / "shards",
            Preprocessing(resolution=32, channels=1),
            heldout_fraction=0.2,
            shard_rows=16384,
        )
        trivial = _run_study(project, "trivial", num_trivial, _BATCH / 1000)
        _trainings(project, "trivial", num_trivial)
        speed = _images_per_s(project)
        kimg = max(1, round(seconds * speed / _BATCH)) * _BATCH / 1000
        long = _run_study(project, "long", num_long, kimg, max_concurrent=1)
        trained = _trainings(project, "long", num_long)
    # From the end of one training to the beginning of the next. Before the first come Ray's start
    # and the import of all that trains: once a study, not a trial.
    gaps = [b.began - a.ended for a, b in itertools.pairwise(trained)]
    overhead = sum(gaps) / len(gaps)
    lengths = [training.ended - training.began for training in trained]
    return {
        "trivial_trials": num_trivial,
        "trivial_seconds": trivial.ended - trivial.began,
        "trivial_peak_gb": trivial.peak_bytes / 1e9,
        "trial_seconds": sum(lengths) / len(lengths),
        "overhead_s": overhead,
        "overhead_of_a_minute": overhead / 60,
        "study_start_s": trained[0].began - long.began,
        "study_end_s": long.ended - trained[-1].ended,
        "peak_gb": long.peak_bytes / 1e9,
    }


def _run_study(project: Path, name: str, num_trials: int, kimg: float, **settings: Any) -> _Outcome:
    study = {
        "space": {"train.g_lr": {"loguniform": [1e-5, 1e-3]}},
        "searcher": "random",
        "num_trials": num_trials,
        "max_kimg": kimg,
        "report_kimg": kimg,
        "metric": "loss/d",
        **settings,
    }
    params = {
        "data": {"source": "digits"},
        "model": {"g_width": 4, "d_width": 8},
        "train": {"batch": _BATCH, "precision": "fp32", "flip": False},
        "runtime": {"device": "cpu", "status_kimg": max(kimg / 20, _BATCH / 1000)},
        "search": {"studies": {name: study}},
    }
    (project / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    command = [sys.executable, str(_ROOT / "tune.py"), "--study", name, "--project", str(project)]
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    environment["PYTHONPATH"] = str(_ROOT)
    began = time.time()
    with (
        (project / f"{name}.log").open("w") as errors,
        subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=errors
        ) as process,
        _Memory(process.pid) as memory,
    ):
        process.wait()
    if process.returncode != 0:
        sys.exit((project / f"{name}.log").read_text())
    return _Outcome(began=began, ended=time.time(), peak_bytes=memory.peak_bytes)


def _trainings(project: Path, name: str, num_trials: int) -> list[_Span]:
    """When each trial trained, by its own clock, in order; a trial that misses anything ends it."""
    folder = project / "reports" / "studies" / name
    trials = json.loads((folder / "results.json").read_text(encoding="utf-8"))["trials"]
    complete = [trial for trial in trials if trial["status"] == "complete"]
    assert len(complete) == num_trials, trials
    assert all(trial["mlflow_run_id"] for trial in trials), trials
    assert (folder / "index.html").exists()
    last = [read_stats(Path(trial["run_dir"]) / STATS_NAME)[0][-1] for trial in complete]
    spans = [_Span(began=record.time - record.elapsed_s, ended=record.time) for record in last]
    return sorted(spans, key=lambda span: span.began)


def _images_per_s(project: Path) -> float:
    """Of a short training in this process: what sizes the long trials."""
    import torch

    from pipeline.config.params import load_params
    from pipeline.data.shards.reader import open_dataset
    from pipeline.runs.settings import runtime_settings, train_settings
    from pipeline.training.loop import train

    torch.set_num_threads(1)
    dataset = open_dataset(project / "data" / "shards")
    seconds = []
    for num_steps in (5, 40):
        values = {"train.total_kimg": num_steps * _BATCH / 1000}
        params = load_params(project / "params.yaml", values)
        started = time.perf_counter()
        train(
            train_settings(params, dataset.manifest), dataset.train, runtime_settings(params, "cpu")
        )
        seconds.append(time.perf_counter() - started)
    return 35 * _BATCH / (seconds[1] - seconds[0])


class _Memory:
    """Samples what a process and all that it started have to themselves (USS)."""

    def __init__(self, pid: int) -> None:
        self.peak_bytes = 0
        self._process = psutil.Process(pid)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> "_Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._over.wait(_SAMPLE_S):
            total = 0
            try:
                for process in (self._process, *self._process.children(recursive=True)):
                    try:
                        total += process.memory_full_info().uss
                    except psutil.Error:
                        continue
            except psutil.Error:
                return
            self.peak_bytes = max(self.peak_bytes, total)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trivial", type=int, default=100, help="trials of one step")
    parser.add_argument("--trials", type=int, default=3, help="long trials, at least 2")
    parser.add_argument("--seconds", type=float, default=60, help="of training of a long one")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    arguments = parser.parse_args()
    if arguments.trials < 2:
        parser.error("--trials must be at least 2: the first one waits for Ray")
    found = measure(arguments.trivial, arguments.trials, arguments.seconds)
    print(
        f"{found['trivial_trials']} trials of one step: {found['trivial_seconds']:.0f} s, "
        f"{found['trivial_peak_gb']:.2f} GB at most\n"
        f"trials of {found['trial_seconds']:.0f} s of training: {found['overhead_s']:.1f} s beside "
        f"it each, {100 * found['overhead_of_a_minute']:.1f} % of a minute\n"
        f"once a study: {found['study_start_s']:.1f} s until training begins, "
        f"{found['study_end_s']:.1f} s after it, {found['peak_gb']:.2f} GB"
    )
    if arguments.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
