"""Checkpoints `checkpoint-<nimg>.pt`, each beside its `.sha256`, from which a run goes on exactly.

They hold plain tensors and numbers and load with `weights_only=True`. A damaged one is reported and
the one before it used. They are written in the background.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pipeline.core.errors import UserError
from pipeline.runs.checkpoint_files import (
    Retention,
    checkpoint_name,
    is_intact,
    prune,
    saved_nimgs,
    sweep,
    write_checkpoint,
)
from pipeline.runs.checkpoint_writer import BackgroundWriter
from pipeline.runs.host_copy import HostCopy


class Checkpoints:
    """The checkpoints of one run folder; one process at a time saves.

    Kept are the newest `keep` and, for shorter runs of the same configuration to go on from, those
    whose distance from the start is a power of two times `interval_nimg`. As a context it closes
    itself.
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
        """Copies the state to host memory, and writes it as that of `state["nimg"]` meanwhile.

        Waits for the write before, and raises what went wrong with that one: UserError when the
        disk was full.
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
        """Where the newest checkpoint not beyond `up_to_nimg` stands, damaged or not; else 0."""
        self.flush()
        nimgs = saved_nimgs(self._folder)
        return max((nimg for nimg in nimgs if nimg <= up_to_nimg), default=0)

    def _write(self, state: dict[str, Any]) -> None:
        sweep(self._folder)
        path = self._folder / checkpoint_name(state["nimg"])
        write_checkpoint(path, state, self._host.num_bytes)
        prune(self._folder, self._retention)
        self._on_saved()
