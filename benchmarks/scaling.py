"""What a second process on a second core gains: `python -m benchmarks.scaling [--json]`.

Each process has a core and a batch of params.yaml to itself. Two of them train together over gloo,
against one alone. What two cores could give at best shows beside it: two runs at the same time that
know nothing of each other. (Cores may share caches and a clock or, as hyperthreads, all they have.)
"""

import argparse
import json
import multiprocessing
import os
import socket
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.preset import load_preset
from benchmarks.scaling_worker import WORLD_SIZE, work
from pipeline.training.settings import TrainSettings

_WARM_UP = 5  # steps
# By mode: which processes take part, and what they do.
_MODES = {
    "alone on the first core": ([0], "own"),
    "alone on the second core": ([1], "own"),
    "side by side": ([0, 1], "own"),
    "together": ([0, 1], "common"),
    "together, gradients apart": ([0, 1], "gradients apart"),
}


class StepSeconds(NamedTuple):
    """What a step takes of a process."""

    clock_s: float
    processor_s: float
    """Without waiting."""
    messages_s: float
    """In messages within the networks, with waiting for the other process."""


@contextmanager
def _workers(settings: TrainSettings, cores: list[int]) -> Iterator[list[Connection]]:
    context = multiprocessing.get_context("spawn")
    port = _free_port()
    pipes = [context.Pipe() for _ in range(WORLD_SIZE)]
    context = [
        context.Process(target=work, args=(rank, core, port, settings, far), daemon=True)
        for rank, (core, (_, far)) in enumerate(zip(cores, pipes, strict=True))
    ]
    for process in context:
        process.start()
    ends = []
    for near, far in pipes:
        far.close()  # so that the death of a worker is heard
        ends.append(near)
    for end in ends:
        assert end.recv() == "ready"
    yield ends
    for end in ends:
        end.send(None)
    for process in context:
        process.join()


def measure(
    settings: TrainSettings, cores: list[int], num_rounds: int, num_steps: int
) -> list[dict[str, StepSeconds]]:
    """Rounds of all modes in turn, after one that is not counted."""
    rounds = []
    with _workers(settings, cores) as workers:
        for count in [_WARM_UP] + num_rounds * [num_steps]:
            seconds = {}
            for mode, (ranks, way) in _MODES.items():
                for rank in ranks:
                    workers[rank].send((way, count))
                sums = zip(*(workers[rank].recv() for rank in ranks), strict=True)
                seconds[mode] = StepSeconds(*(statistics.mean(each) / count for each in sums))
            rounds.append(seconds)
    return rounds[1:]


def summarize(rounds: list[dict[str, StepSeconds]]) -> dict[str, Any]:
    """Medians over rounds, of ratios within each."""
    ratios = [_ratios(*seconds.values()) for seconds in rounds]
    summary: dict[str, Any] = {
        name: statistics.median(each[name] for each in ratios) for name in ratios[0]
    }
    for kind in ("clock_s", "processor_s"):
        summary[kind] = {
            mode: statistics.median(getattr(each[mode], kind) for each in rounds) for mode in _MODES
        }
    return summary


def _ratios(
    first: StepSeconds,
    second: StepSeconds,
    side_by_side: StepSeconds,
    together: StepSeconds,
    gradients_apart: StepSeconds,
) -> dict[str, float]:
    # All put as many images through in a process's step, so that times alone compare.
    alone_s = (first.clock_s + second.clock_s) / 2
    gradients_s = max(0.0, together.clock_s - gradients_apart.clock_s)
    return {
        "scaling_efficiency": alone_s / together.clock_s,
        "independent_efficiency": alone_s / side_by_side.clock_s,
        "efficiency_vs_independent": side_by_side.clock_s / together.clock_s,
        "communication_share": (together.messages_s + gradients_s) / together.clock_s,
        "statistics_share": together.messages_s / together.clock_s,
        "gradients_share": gradients_s / together.clock_s,
        "processor_time_vs_independent": together.processor_s / side_by_side.processor_s,
    }


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def show(result: dict[str, Any], batch: int) -> None:
    print(
        f"{batch} images a process and step, one core a process; seconds a step, of its processor"
    )
    for mode, clock_s in result["clock_s"].items():
        print(f"  {mode:<28} {clock_s:8.3f} {result['processor_s'][mode]:8.3f}")
    print("images a second of two processes against twice those of one")
    print(f"  together                     {result['scaling_efficiency']:8.3f}")
    print(f"  side by side, the ceiling    {result['independent_efficiency']:8.3f}")
    print(f"  together against the ceiling {result['efficiency_vs_independent']:8.3f}")
    print(
        f"communication, with waiting for the other: {result['communication_share']:.1%} of a step"
        f" (batch statistics {result['statistics_share']:.1%}, gradients "
        f"{result['gradients_share']:.1%})"
    )
    work = result["processor_time_vs_independent"]
    print(f"processor time together against side by side: {work:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=8, help="medians over so many")
    parser.add_argument("--steps", type=int, default=5, help="of each mode in a round")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    arguments = parser.parse_args()

    cores = sorted(os.sched_getaffinity(0))[:WORLD_SIZE]
    if len(cores) < WORLD_SIZE:
        parser.error("this needs two processor cores, and there is one")
    with tempfile.TemporaryDirectory() as folder:
        settings = load_preset(Path(folder) / "shards").settings
    result = summarize(measure(settings, cores, arguments.rounds, arguments.steps))
    show(result, settings.batch)
    if arguments.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
