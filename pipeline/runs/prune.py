"""Lists the run folders, newest first, and prunes old ones: `python -m pipeline.runs.prune`."""

import argparse
import shutil
from dataclasses import dataclass
from pathlib import Path

from pipeline.storage.locks import is_locked
from pipeline.tracking.jsonl import STATS_NAME


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """One run folder as `list_runs` saw it."""

    path: Path
    changed_s: float
    """When its statistics last changed, seconds since the epoch."""
    bytes: int
    newest_nimg: int
    in_use: bool


def list_runs(runs_dir: Path) -> list[RunFolder]:
    """The run folders in `runs_dir`, most recently changed first."""
    folders = [path for path in runs_dir.glob("*") if (path / "lock").exists()]
    return sorted(map(_look_at, folders), key=lambda run: run.changed_s, reverse=True)


def prune_runs(runs_dir: Path, keep: int) -> list[RunFolder]:
    """Deletes all but the newest `keep` run folders, never one in use; returns the deleted."""
    old = [run for run in list_runs(runs_dir)[keep:] if not run.in_use]
    for run in old:
        shutil.rmtree(run.path)
    return old


def _look_at(path: Path) -> RunFolder:
    stats = path / STATS_NAME
    checkpoints = path.glob("checkpoints/checkpoint-*.pt")
    return RunFolder(
        path=path,
        changed_s=(stats if stats.exists() else path).stat().st_mtime,
        bytes=sum(file.stat().st_size for file in path.rglob("*") if file.is_file()),
        newest_nimg=max((int(file.stem.split("-")[1]) for file in checkpoints), default=0),
        in_use=is_locked(path / "lock"),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs_dir", type=Path, help="folder of the run folders")
    parser.add_argument("--keep", type=int, metavar="N", help="prune all but the newest N")
    arguments = parser.parse_args()
    if arguments.keep is not None:
        if arguments.keep < 0:
            parser.error(f"--keep {arguments.keep} is negative; give 0 or more")
        for run in prune_runs(arguments.runs_dir, arguments.keep):
            print(f"pruned {run.path} ({run.bytes / 1e6:.1f} MB)")
    for run in list_runs(arguments.runs_dir):
        state = ", in use" if run.in_use else ""
        print(f"{run.path}: {run.newest_nimg / 1000:g} kimg, {run.bytes / 1e6:.1f} MB{state}")


if __name__ == "__main__":
    main()
