"""The names of what a mirrored run consists of, relative to the run folder."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from pipeline.runs.checkpoint_files import checkpoint_name, checkpoint_nimg

LATEST = "latest.json"
"""Names the newest checkpoint in the mirror that is complete; for people and other programs."""
CHECKPOINTS = "checkpoints/"
STATS = "stats.jsonl"
_WRITTEN_ONCE = ("snapshots", "samples")
_CHANGING = ("config.json", STATS, "mlflow-*.json")


def written_once(run_dir: Path) -> list[str]:
    """Files that never change once they have their name."""
    return sorted(
        f"{folder}/{path.name}"
        for folder in _WRITTEN_ONCE
        for path in (run_dir / folder).glob("*")
        if path.is_file() and path.suffix != ".tmp"
    )


def changing(run_dir: Path) -> list[str]:
    """Small files that grow or are replaced."""
    return sorted(path.name for pattern in _CHANGING for path in run_dir.glob(pattern))


def is_beside_checkpoints(name: str) -> bool:
    """Whether it is a file of the run that is no checkpoint's."""
    folder, _, file = name.rpartition("/")
    if folder:  # a name from elsewhere must not lead out of the run folder
        return folder in _WRITTEN_ONCE and file not in ("", ".", "..")
    return any(fnmatchcase(file, pattern) for pattern in _CHANGING)


def checkpoint_files(nimg: int) -> tuple[str, str]:
    """The names of a checkpoint and of its checksum."""
    name = CHECKPOINTS + checkpoint_name(nimg)
    return name, name + ".sha256"


def begun_nimgs(names: Iterable[str]) -> set[int]:
    """Checkpoints of which at least one file is among `names`."""
    inside = (name.removeprefix(CHECKPOINTS) for name in names if name.startswith(CHECKPOINTS))
    nimgs = (checkpoint_nimg(name.removesuffix(".sha256")) for name in inside)
    return {nimg for nimg in nimgs if nimg is not None}


def complete_nimgs(names: Iterable[str]) -> set[int]:
    """Checkpoints that are among `names` with their checksums."""
    names = set(names)
    return {nimg for nimg in begun_nimgs(names) if names.issuperset(checkpoint_files(nimg))}
