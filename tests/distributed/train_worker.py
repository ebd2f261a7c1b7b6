"""One process of a small job: `python -m tests.distributed.train_worker FOLDER SHARDS JSON`.

JSON maps names to changes to TINY; each is trained in turn, in the folder of its name.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pipeline.data.shards.reader import open_dataset
from pipeline.distributed.context import DistContext
from pipeline.distributed.group import process_group
from pipeline.runs.train import run_training
from pipeline.tracking.jsonl import JsonlTracker
from pipeline.training import loop
from stages.entry import run_stage
from tests.support.tiny_run import RUNTIME, TINY


def main() -> None:
    folder, shards = Path(sys.argv[1]), Path(sys.argv[2])
    systems = json.loads(sys.argv[3])
    join_timeout_s = min(changes.pop("join_timeout_s", 60) for changes in systems.values())
    with process_group("cpu", join_timeout_s) as context:
        for name, changes in systems.items():
            _train(folder / name, shards, changes, context)


def _train(folder: Path, shards: Path, changes: dict[str, Any], context: DistContext) -> None:
    generator = replace(TINY.generator, **changes.pop("generator", {}))
    discriminator = replace(TINY.discriminator, **changes.pop("discriminator", {}))
    runtime = replace(RUNTIME, **changes.pop("runtime", {}))
    fault = changes.pop("fault", None)
    if fault is not None and context.rank == fault["rank"]:
        _break(fault["kind"], fault["nimg"])
    run_training(
        replace(TINY, generator=generator, discriminator=discriminator, **changes),
        open_dataset(shards),
        runtime,
        runs_dir=folder / "runs",
        out=folder / "model",
        open_tracker=lambda run_dir, run_key: JsonlTracker(run_dir),
        context=context,
    )


def _break(kind: str, nimg: int) -> None:
    """From `nimg` on, this process computes as a broken machine would."""
    real_step = loop.d_step

    def broken_step(settings, state, real, *rest):  # type: ignore[no-untyped-def]
        if state.nimg == nimg:
            if kind == "nan":
                real = real * float("nan")
            else:  # one bit of one weight
                weight = state.G.linear.weight.data.view(-1)[:1]
                weight.copy_(torch.nextafter(weight, weight + 1))
        return real_step(settings, state, real, *rest)

    loop.d_step = broken_step


if __name__ == "__main__":
    run_stage(main)
