"""Checkpoints `checkpoint-<nimg>.pt`, each beside its `.sha256`, from which a run goes on exactly.

They hold plain tensors and numbers and load with `weights_only=True`. A damaged one is reported and
the one before it used.
"""

import re
import sys
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import UserError
from pipeline.storage.atomic import atomic_write, write_text
from pipeline.storage.digest import sha256_file

_NAME = re.compile(r"checkpoint-(\d+)\.pt")


class Checkpoints:
    """The checkpoints of one run folder.

    Kept are the newest `keep` and, for shorter runs of the same configuration to go on from, those
    whose distance from the start is a power of two times `interval_nimg`.
    """

    def __init__(self, folder: Path, run_key: str, keep: int, interval_nimg: int) -> None:
        self._folder = folder
        self._run_key = run_key
        self._keep = keep
        self._interval_nimg = interval_nimg
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, state: dict[str, Any]) -> None:
        """Writes the checkpoint of `state["nimg"]` atomically, then prunes old ones."""
        path = self._path(state["nimg"])
        with atomic_write(path) as temporary:
            torch.save({**state, "run_key": self._run_key}, temporary)
            # Before the checkpoint has its name: one without a checksum counts as damaged.
            write_text(_checksum_path(path), f"{sha256_file(temporary)}  {path.name}\n")
        self._prune()

    def load_newest(self, up_to_nimg: int) -> dict[str, Any] | None:
        """The newest intact state that is not beyond `up_to_nimg`, or None.

        Raises UserError for a checkpoint that belongs to another configuration.
        """
        for nimg in sorted(self._saved(), reverse=True):
            if nimg > up_to_nimg:
                continue
            path = self._path(nimg)
            if not _is_intact(path):
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
        """Where the newest checkpoint not beyond `up_to_nimg` stands, damaged or not; else 0."""
        return max((nimg for nimg in self._saved() if nimg <= up_to_nimg), default=0)

    def _path(self, nimg: int) -> Path:
        return self._folder / f"checkpoint-{nimg:09d}.pt"

    def _saved(self) -> list[int]:
        matches = (_NAME.fullmatch(path.name) for path in self._folder.iterdir())
        return sorted(int(match[1]) for match in matches if match)

    def _prune(self) -> None:
        for nimg in self._saved()[: -self._keep]:
            if not self._is_milestone(nimg):
                self._path(nimg).unlink()
                _checksum_path(self._path(nimg)).unlink(missing_ok=True)

    def _is_milestone(self, nimg: int) -> bool:
        intervals = nimg // self._interval_nimg
        return intervals > 0 and intervals & (intervals - 1) == 0


def _checksum_path(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _is_intact(path: Path) -> bool:
    try:
        expected = _checksum_path(path).read_text(encoding="utf-8").split()[0]
    except (OSError, UnicodeDecodeError, IndexError):
        return False
    return sha256_file(path) == expected
