"""The files of a checkpoint folder: their names, how one is written whole, and which ones stay."""

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline.storage.atomic import atomic_write, write_text
from pipeline.storage.digest import sha256_file
from pipeline.storage.disk_space import explain_full_disk

_NAME = re.compile(r"checkpoint-(\d+)\.pt")
ROOM_CURE = (
    "free some (`make clean-runs KEEP=3` prunes old runs) or set runtime.runs_dir to a larger "
    "disk, then run the same command to go on from the checkpoint before"
)
"""What to do about a full disk."""


def checkpoint_name(nimg: int) -> str:
    """`checkpoint-<nimg>.pt`."""
    return f"checkpoint-{nimg:09d}.pt"


def checkpoint_nimg(name: str) -> int | None:
    """Where the checkpoint of this file name stands; None for another file's name."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else None


def saved_nimgs(folder: Path) -> list[int]:
    """Ascending, damaged ones too; none where there is no folder."""
    nimgs = (checkpoint_nimg(path.name) for path in folder.glob("*.pt"))
    return sorted(nimg for nimg in nimgs if nimg is not None)


def checksum_path(path: Path) -> Path:
    """The `.sha256` beside a checkpoint, in the format of sha256sum."""
    return path.with_name(path.name + ".sha256")


def parse_checksum(content: bytes) -> str | None:
    """The hexadecimal digest that a `.sha256` file holds; None where it holds none."""
    match = re.match(rb"([0-9a-f]{64})\s", content)
    return match[1].decode() if match else None


def stored_checksum(path: Path) -> str | None:
    """What the `.sha256` beside a checkpoint says; None where it is missing or damaged."""
    try:
        return parse_checksum(checksum_path(path).read_bytes())
    except OSError:
        return None


def is_intact(path: Path) -> bool:
    """Whether a checkpoint can be read and is what its checksum says."""
    expected = stored_checksum(path)
    try:
        return expected is not None and sha256_file(path) == expected
    except OSError:
        return False


def write_checkpoint(path: Path, state: dict[str, Any], num_bytes: int) -> None:
    """Writes a state and its checksum durably.

    Raises UserError when the disk has no room; the folder is then as it was. `num_bytes` is about
    the size of the state.
    """
    with explain_full_disk(path, num_bytes, ROOM_CURE), atomic_write(path) as temporary:
        with open(temporary, "wb") as file:
            hashing = _HashingFile(file)
            torch.save(state, hashing)  # type: ignore[arg-type]
            digest = hashing.hexdigest()
            os.fsync(file.fileno())  # the disk's last chance to be full
        # Before the checkpoint has its name: one without a checksum counts as damaged.
        write_text(checksum_path(path), f"{digest}  {path.name}\n")


@dataclass(frozen=True, kw_only=True)
class Retention:
    """Which checkpoints stay: the newest, and milestones for shorter runs to go on from."""

    keep: int
    """The newest so many."""
    interval_nimg: int
    """Images between checkpoints; a power of two times it is a milestone."""

    def superfluous(self, nimgs: Iterable[int]) -> list[int]:
        """Those of `nimgs` that need not stay."""
        return [nimg for nimg in sorted(nimgs)[: -self.keep] if not self._is_milestone(nimg)]

    def _is_milestone(self, nimg: int) -> bool:
        intervals = nimg // self.interval_nimg
        return intervals > 0 and intervals & (intervals - 1) == 0


def prune(folder: Path, retention: Retention) -> None:
    """Deletes superfluous checkpoints."""
    for nimg in retention.superfluous(saved_nimgs(folder)):
        path = folder / checkpoint_name(nimg)
        path.unlink()
        checksum_path(path).unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Deletes what a killed writer left: temporary files, and checksums of no checkpoint."""
    for path in folder.iterdir():
        orphan = path.suffix == ".sha256" and not path.with_suffix("").exists()
        if orphan or path.suffix == ".tmp":
            path.unlink()


class _HashingFile:
    """What torch.save writes to; it digests what passes.

    An OSError waits until `hexdigest`: torch's writer would have to pass it through C++, and writes
    the archive's end after it.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._error: OSError | None = None

    def write(self, content: memoryview | bytes) -> int:
        if self._error is None:
            try:
                self._file.write(content)
            except OSError as error:
                self._error = error
        self._digest.update(content)
        return len(content)

    def flush(self) -> None:
        if self._error is None:
            try:
                self._file.flush()
            except OSError as error:
                self._error = error

    def hexdigest(self) -> str:
        self.flush()
        if self._error is not None:
            raise self._error
        return self._digest.hexdigest()
