"""What training spends beside its steps: `python -m benchmarks.overhead [--json]`.

The run of params.yaml with batches, tracker, MLflow and checkpoints, as the stage makes it, against
as many pure steps on one batch. Starting and writing snapshots do not count; the latter's share
stands beside.
"""

import argparse
import contextlib
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.preset import Preset, PureSteps, load_preset
from benchmarks.turns import EnoughError, Turns
from pipeline.core.allocator import keep_freed_memory
from pipeline.data.loading.batches import Batches
from pipeline.distributed.devices import choose_device
from pipeline.distributed.stopping import Interruption
from pipeline.runs.checkpoints import Checkpoints
from pipeline.runs.outputs import RunOutputs
from pipeline.runs.progress import Progress
from pipeline.runs.settings import resolve_run, runtime_settings
from pipeline.tracking.mlflow import open_tracker
from pipeline.training import loop
from pipeline.training.loop import train
from pipeline.training.status import RunningMeans, StatusReporter

_KEY = "benchmark"
_NEVER_KIMG = 10.0**9
# What the thread that trains does beside its steps.
_PARTS: dict[str, list[tuple[Any, str]]] = {
    "waiting for batches": [(Batches, "next_batch")],
    "images to floats": [(loop, "from_uint8")],
    "draws": [(loop, "draw_for_d"), (loop, "draw_for_g")],
    "stop requests": [(Interruption, "reason")],
    "running means": [(RunningMeans, "add")],
    "status reports": [(StatusReporter, "report")],
    "checkpoint copies": [(Checkpoints, "save")],
}


@contextlib.contextmanager
def timed_parts(is_counting: Callable[[], bool]) -> Iterator[dict[str, float]]:
    """Inside, the seconds of each part add up."""
    seconds = dict.fromkeys(_PARTS, 0.0)

    def timed(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                if is_counting():
                    seconds[part] += time.perf_counter() - started

        return call

    places = [(part, *place) for part, places in _PARTS.items() for place in places]
    originals = [getattr(owner, name) for _, owner, name in places]
    for (part, owner, name), original in zip(places, originals, strict=True):
        setattr(owner, name, timed(part, original))
    try:
        yield seconds
    finally:
        for (_, owner, name), original in zip(places, originals, strict=True):
            setattr(owner, name, original)


def measure(preset: Preset, device: str, num_rounds: int, folder: Path) -> dict[str, Any]:
    """Trains in `folder`; a round has as many steps as lie between checkpoints."""
    settings = replace(preset.settings, total_kimg=_NEVER_KIMG, snapshot_kimg=_NEVER_KIMG)
    runtime = runtime_settings(preset.params, device)
    per_round = round(runtime.checkpoint_nimg / settings.batch)
    num_steps = num_rounds * per_round
    pure = PureSteps(settings, device)
    tracker = open_tracker(
        folder,
        _KEY,
        settings,
        preset.dataset.manifest,
        resolve_run(preset.params, preset.dataset.manifest)[1],
        kind="mlflow",
        uri=f"sqlite:///{folder / 'mlflow.db'}",
        experiment=_KEY,
    )
    checkpoints = Checkpoints(
        folder / "checkpoints", _KEY, runtime.keep_checkpoints, runtime.checkpoint_nimg
    )
    progress = Progress(0, settings.total_nimg, io.StringIO())
    outputs = RunOutputs(folder, settings, {}, checkpoints, tracker, progress.update)
    with Interruption() as interruption, checkpoints:
        turns = Turns(pure, folder, interruption, per_round, num_rounds)
        with timed_parts(lambda: turns.is_counting) as seconds, contextlib.suppress(EnoughError):
            train(settings, preset.dataset.train, runtime, turns, outputs)
    snapshot_s = statistics.median(_snapshot_seconds(outputs, pure) for _ in range(3))
    tracker.close("finished")
    pure_s = sum(each.pure_s for each in turns.rounds)
    shares = [each.run_s / each.pure_s - 1 for each in turns.rounds]
    parts = {part: spent_s / num_steps for part, spent_s in seconds.items()}
    steps_per_snapshot = preset.settings.snapshot_kimg * 1000 / settings.batch
    return {
        "overhead_share": statistics.median(shares),
        "overhead_share_of_rounds": shares,
        "batch": settings.batch,
        "num_steps": num_steps,
        "num_threads": torch.get_num_threads(),
        "step_s": pure_s / num_steps,
        "run_step_s": sum(each.run_s for each in turns.rounds) / num_steps,
        "parts_s_per_step": parts,
        "parts_share": sum(parts.values()) * num_steps / pure_s,
        "background_s_per_step": sum(each.background_s for each in turns.rounds) / num_steps,
        "bookkeeping_s_per_step": bookkeeping_s(pure),
        "snapshot_share": snapshot_s / steps_per_snapshot * num_steps / pure_s,
    }


def bookkeeping_s(pure: PureSteps, repeats: int = 50) -> float:
    """What a pure step itself spends on the run's health: finite numbers and varied samples."""
    state, images = pure.state, pure.real
    for network in (state.D, state.G):
        for parameter in network.parameters():
            parameter.grad = torch.ones_like(parameter)

    loss = torch.zeros((), device=images.device)

    def look() -> None:
        state.D_nonfinite.check(0, loss)
        state.G_nonfinite.check(0, loss)
        images.std(dim=0, correction=0).mean()
        images.std(dim=0, correction=0).mean()

    return statistics.median(_seconds(look) for _ in range(repeats))


def _snapshot_seconds(outputs: RunOutputs, pure: PureSteps) -> float:
    pure.state.nimg += 1  # a snapshot that exists is not written again
    return _seconds(lambda: outputs.write_snapshots(pure.state))


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def show(result: dict[str, Any]) -> None:
    step_s = result["step_s"]

    def line(name: str, spent_s: float) -> None:
        print(f"  {name:<28} {spent_s * 1e3:9.3f} ms  {spent_s / step_s:7.2%}")

    shares = result["overhead_share_of_rounds"]
    print(
        f"{result['num_steps']} steps of {result['batch']} images, {result['num_threads']} threads;"
        f" overhead {result['overhead_share']:.2%} ({min(shares):.2%} to {max(shares):.2%})"
    )
    line("a pure step", step_s)
    line("a step of the run", result["run_step_s"])
    print("of a step of the run, in its own thread:")
    for name, spent_s in result["parts_s_per_step"].items():
        line(name, spent_s)
    line("all of these", sum(result["parts_s_per_step"].values()))
    print("processor time of its other threads (batches, checkpoints, MLflow):")
    line("background", result["background_s_per_step"])
    print("within a pure step:")
    line("looking after its health", result["bookkeeping_s_per_step"])
    print(f"not in the overhead: snapshots {result['snapshot_share']:.2%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2, help="of the steps between checkpoints")
    parser.add_argument("--threads", type=int, help="of torch on the CPU; default: torch's choice")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    arguments = parser.parse_args()

    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        preset = load_preset(Path(folder) / "shards")
        device = choose_device(preset.params.runtime.device, arguments.threads)
        result = measure(preset, device, arguments.rounds, Path(folder) / "run")
    show(result)
    if arguments.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
