"""A run that goes on from another's weights, as the members of a population do."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline.core.errors import UserError
from pipeline.runs.checkpoint_files import (
    checkpoint_name,
    is_intact,
    saved_nimgs,
    write_checkpoint,
)


@dataclass(frozen=True, kw_only=True)
class Inheritance:
    """Whose state a run starts from."""

    run_dir: Path
    run_key: str
    nimg: int
    """Which of its checkpoints."""
    heir: str
    """Who takes it, so that two heirs of one state have runs of their own."""

    def identity(self) -> dict[str, Any]:
        """Its part in what decides a run's result."""
        return {"run_key": self.run_key, "nimg": self.nimg, "heir": self.heir}


def take_over(inheritance: Inheritance, checkpoints: Path, run_key: str) -> None:
    """Copies the inherited checkpoint to the heir's folder, under its key; once.

    Raises UserError when it is gone or damaged.
    """
    if saved_nimgs(checkpoints):
        return
    source = inheritance.run_dir / "checkpoints" / checkpoint_name(inheritance.nimg)
    if not is_intact(source):
        raise UserError(
            f"{source} is gone or damaged, and a run was to go on from it; restart its study"
        )
    state = torch.load(source, weights_only=True, map_location="cpu")
    checkpoints.mkdir(parents=True, exist_ok=True)
    target = checkpoints / checkpoint_name(inheritance.nimg)
    write_checkpoint(target, {**state, "run_key": run_key}, source.stat().st_size)
