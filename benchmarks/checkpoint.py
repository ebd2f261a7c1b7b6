"""How long a checkpoint holds up training: `python -m benchmarks.checkpoint [--json]`.

Against the write in the training thread, and against a plain copy of the state to host memory.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pipeline.runs.checkpoint_writer import HostCopy
from pipeline.runs.checkpoints import Checkpoints

_STEP_SIZE = 512  # of the square matrices whose product stands for a training step


def make_state(num_bytes: int, device: str) -> dict[str, Any]:
    """Weights, averaged weights and Adam's two moments, in tensors of many sizes."""
    sizes = [4**power for power in range(4, 11)]  # 1 kB to 4 MB each, in float32
    state: dict[str, Any] = {"nimg": 0}
    for part in ("weights", "average", "exp_avg", "exp_avg_sq"):
        tensors: dict[str, torch.Tensor] = {}
        left = num_bytes // 16
        while left > 0:
            size = min(left, sizes[len(tensors) % len(sizes)])
            tensors[f"layer{len(tensors)}"] = torch.randn(size, device=device)
            left -= size
        state[part] = tensors
    return state


def measure(state: dict[str, Any], folder: Path, repeats: int) -> dict[str, list[float]]:
    """Seconds of each way, `repeats` times in turn, after one round that is not counted."""
    checkpoints = Checkpoints(folder, "benchmark", keep=1, interval_nimg=10**12)

    def host_copy() -> None:
        parts = [part.values() for part in state.values() if isinstance(part, dict)]
        copies = [tensor.to("cpu", copy=True) for part in parts for tensor in part]
        del copies

    def save() -> None:
        state["nimg"] += 1
        checkpoints.save(state)

    def save_and_wait() -> None:
        save()
        checkpoints.flush()

    def save_and_train() -> None:
        save()
        train()

    a = torch.randn(_STEP_SIZE, _STEP_SIZE)
    save_and_wait()
    steps_s = _seconds(lambda: _train(200, a))
    num_steps = max(1, round(200 * _seconds(save_and_wait) / steps_s))  # about as long as a write

    def train() -> None:
        _train(num_steps, a)

    ways: dict[str, Callable[[], None]] = {
        "host copy": host_copy,
        "background": save,
        "synchronous": save_and_wait,
        "training alone": train,
        "training and a checkpoint": save_and_train,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, way in ways.items():
            elapsed_s = _seconds(way)
            checkpoints.flush()
            if repeat > 0:
                seconds[name].append(elapsed_s)
    checkpoints.close()
    return seconds


def summarize(seconds: dict[str, list[float]], num_bytes: int) -> dict[str, float]:
    """Medians, and their ratios."""
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    stall_s, synchronous_s = medians["background"], medians["synchronous"]
    # The stall, and what the writing thread takes from training that goes on beside it.
    lost_s = medians["training and a checkpoint"] - medians["training alone"]
    return {
        "bytes": num_bytes,
        "host_copy_s": medians["host copy"],
        "stall_s": stall_s,
        "synchronous_s": synchronous_s,
        "training_lost_s": lost_s,
        "stall_vs_host_copy": stall_s / medians["host copy"],
        "stall_vs_synchronous": stall_s / synchronous_s,
        "training_lost_vs_synchronous": lost_s / synchronous_s,
    }


def _train(num_steps: int, a: torch.Tensor) -> None:
    for _ in range(num_steps):
        torch.mm(a, a)


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=500, help="size of the state")
    parser.add_argument("--repeats", type=int, default=5, help="rounds; medians are shown")
    parser.add_argument("--device", default="cpu", help="where the state lies: cpu or cuda")
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk to write to")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    arguments = parser.parse_args()

    state = make_state(arguments.megabytes * 10**6, arguments.device)
    host = HostCopy()
    host.take(state)
    num_bytes = host.num_bytes
    del host
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        seconds = measure(state, Path(folder), arguments.repeats)
    result = summarize(seconds, num_bytes)
    print(f"a checkpoint of {num_bytes / 1e6:.0f} MB, medians of {arguments.repeats} rounds")
    for name, values in seconds.items():
        print(
            f"  {name:<26} {statistics.median(values):8.3f} s"
            f"   ({min(values):.3f} to {max(values):.3f})"
        )
    for name, value in result.items():
        if "_vs_" in name:
            print(f"  {name.replace('_', ' '):<30} {value:.3f}")
    if arguments.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
