"""One process of a small job: `python -m tests.launching.train_worker FOLDER SHARDS JSON`."""

import json
import sys
from dataclasses import replace
from pathlib import Path

from pipeline.data.reader import open_dataset
from pipeline.launching.group import process_group
from pipeline.tracking.jsonl import JsonlTracker
from pipeline.training.session import Session, SessionPaths, run_session
from stages.entry import run_stage
from tests.training.conftest import RUNTIME, TINY


def main() -> None:
    folder, shards = Path(sys.argv[1]), Path(sys.argv[2])
    changes = json.loads(sys.argv[3])
    generator = replace(TINY.generator, **changes.pop("generator", {}))
    discriminator = replace(TINY.discriminator, **changes.pop("discriminator", {}))
    runtime = replace(RUNTIME, **changes.pop("runtime", {}))
    join_timeout_s = changes.pop("join_timeout_s", 60)
    session = Session(
        settings=replace(TINY, generator=generator, discriminator=discriminator, **changes),
        dataset=open_dataset(shards),
        paths=SessionPaths(runs_dir=folder / "runs", out=folder / "model"),
        runtime=runtime,
        open_tracker=lambda run_dir, run_key: JsonlTracker(run_dir),
    )
    with process_group("cpu", join_timeout_s) as processes:
        run_session(session, processes)


if __name__ == "__main__":
    run_stage(main)
