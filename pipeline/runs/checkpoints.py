"""Checkpoints `checkpoint-<nimg>.pt`, each beside its `.sha256`, from which a run resumes exactly.

They hold plain tensors and numbers and load with `weights_only=True`. A damaged one is reported and
the one before it used. They are written in the background.
"""

import os
import re
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline.core.errors import UserError
from pipeline.runs.checkpoint_writer import BackgroundWriter, HashingFile, HostCopy
from pipeline.storage.atomic import atomic_write, write_text
from pipeline.storage.digest import sha256_file
from pipeline.storage.disk_space import explain_full_disk

FULL_DISK_CURE = (
    "free some (`make clean-runs KEEP=3` prunes old runs) or set runtime.runs_dir to a larger "
    "disk, then run the same command to go on from the checkpoint before"
)
_NAME = re.compile(r"checkpoint-(\d+)\.pt")


@dataclass(frozen=True, kw_only=True)
class Retention:
    """Which checkpoints stay: the newest, and milestones for shorter runs to resume from."""

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


class Checkpoints:
    """The checkpoints of one run folder; one process at a time saves.

    The newest `keep` and the milestones of `Retention` are kept. As a context it closes itself.
    """

    def __init__(
        self,
        folder: Path,
        run_key: str,
        keep: int,
        interval_nimg: int,
        on_saved: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_saved` is called on the writing thread whenever a checkpoint is on disk."""
        self._folder = folder
        self._run_key = run_key
        self._retention = Retention(keep=keep, interval_nimg=interval_nimg)
        self._on_saved = on_saved
        self._host = HostCopy()
        self._writer = BackgroundWriter()
        self._copied_s = 0.0
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, state: dict[str, Any]) -> None:
        """Copies the state to host memory and writes it, as that of `state["nimg"]`, on a thread.

        Waits for the write before, and raises its exception: UserError when the disk was full.
        """
        self.flush()
        started = time.perf_counter()
        copy = {**self._host.take(state), "run_key": self._run_key}
        self._copied_s += time.perf_counter() - started
        self._writer.start(lambda: self._write(copy))

    def flush(self) -> None:
        """Returns when all that was saved is on disk; raises as `save` does."""
        self._writer.wait()

    def close(self) -> None:
        """Ends the saving; raises as `save` does."""
        self.flush()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        try:
            self.close()
        except UserError as error:
            if kind is None:
                raise
            print(f"warning: {error}", file=sys.stderr)  # the exception in flight says more

    @property
    def waited_s(self) -> float:
        """Time that saves and flushes waited for a write so far, seconds."""
        return self._writer.waited_s

    @property
    def copied_s(self) -> float:
        """Time that saves took to copy states to host memory so far, seconds."""
        return self._copied_s

    def load_newest(self, up_to_nimg: int) -> dict[str, Any] | None:
        """The newest intact state that is not beyond `up_to_nimg`, or None.

        Raises UserError for a checkpoint that belongs to another configuration.
        """
        self.flush()
        for nimg in reversed(saved_nimgs(self._folder)):
            if nimg > up_to_nimg:
                continue
            path = self._folder / checkpoint_name(nimg)
            if not is_intact(path):
                print(f"warning: {path} is damaged; trying the one before it", file=sys.stderr)
                continue
            state = torch.load(path, weights_only=True, map_location="cpu")
            if state["run_key"] != self._run_key:
                raise UserError(
                    f"{path} belongs to run {state['run_key'][:12]}, another configuration than "
                    f"this one's {self._run_key[:12]}; move it away or train with --restart"
                )
            return state
        return None

    def newest_nimg(self, up_to_nimg: int) -> int:
        """The nimg of the newest checkpoint not beyond `up_to_nimg`, damaged or not; else 0."""
        self.flush()
        nimgs = saved_nimgs(self._folder)
        return max((nimg for nimg in nimgs if nimg <= up_to_nimg), default=0)

    def _write(self, state: dict[str, Any]) -> None:
        remove_leftovers(self._folder)
        path = self._folder / checkpoint_name(state["nimg"])
        write_checkpoint(path, state, self._host.num_bytes)
        for nimg in self._retention.superfluous(saved_nimgs(self._folder)):
            old = self._folder / checkpoint_name(nimg)
            old.unlink()
            checksum_path(old).unlink(missing_ok=True)
        self._on_saved()


def checkpoint_name(nimg: int) -> str:
    """`checkpoint-<nimg>.pt`."""
    return f"checkpoint-{nimg:09d}.pt"


def checkpoint_nimg(name: str) -> int | None:
    """The nimg in the file name of a checkpoint; None for another file's name."""
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
    """The digest in the `.sha256` beside a checkpoint; None where it is missing or damaged."""
    try:
        return parse_checksum(checksum_path(path).read_bytes())
    except OSError:
        return None


def is_intact(path: Path) -> bool:
    """Whether a checkpoint can be read and matches its checksum."""
    expected = stored_checksum(path)
    try:
        return expected is not None and sha256_file(path) == expected
    except OSError:
        return False


def write_checkpoint(path: Path, state: dict[str, Any], num_bytes: int) -> None:
    """Writes a state and its checksum durably.

    Raises UserError when the disk is full; the folder is then as it was. `num_bytes` is about the
    size of the state.
    """
    with explain_full_disk(path, num_bytes, FULL_DISK_CURE), atomic_write(path) as temporary:
        with open(temporary, "wb") as file:
            hashing = HashingFile(file)
            torch.save(state, hashing)  # type: ignore[arg-type]
            digest = hashing.hexdigest()
            os.fsync(file.fileno())  # a full disk may be reported only here
        # Before the checkpoint has its name: one without a checksum counts as damaged.
        write_text(checksum_path(path), f"{digest}  {path.name}\n")


def remove_leftovers(folder: Path) -> None:
    """Deletes what a killed writer left: temporary files, and checksums of no checkpoint."""
    for path in folder.iterdir():
        orphan = path.suffix == ".sha256" and not path.with_suffix("").exists()
        if orphan or path.suffix == ".tmp":
            path.unlink()
