"""Project folders in which the real train stage runs as a process of its own."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.support.forks import Command, run_command

TRAIN = ("stages.train", "--shards", "shards", "--out", "model")
"""Module and arguments of the stage."""


class Project:
    """A folder with params.yaml and shards."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self) -> Command:
        """Starts the stage."""
        return Command(self.folder, *TRAIN)

    def finish(self) -> Path:
        """Runs the stage to its end and returns the exported model."""
        done = run_command(self.folder, *TRAIN)
        assert done.returncode == 0, done.stderr
        return self.folder / "model"

    def configure(self, **sections: dict) -> None:
        """Changes keys of its params.yaml: `train={"batch": 8}`."""
        path = self.folder / "params.yaml"
        params = yaml.safe_load(path.read_text())
        for name, changes in sections.items():
            params[name] |= changes
        path.write_text(yaml.safe_dump(params))

    def checkpoints(self) -> list[Path]:
        """All complete checkpoint files."""
        return sorted(self.folder.glob("runs/*/checkpoints/*.pt"))


@pytest.fixture(scope="session")
def make_project(
    tmp_path_factory: pytest.TempPathFactory, digits_shards: Path, default_params: dict
) -> Callable[[str], Project]:
    """Makes project folders with a small, quick run."""

    def make(name: str) -> Project:
        folder = tmp_path_factory.mktemp(name)
        (folder / "shards").symlink_to(digits_shards)
        params = copy.deepcopy(default_params)
        params["model"] |= {"g_width": 2, "d_width": 2, "z_dim": 8}
        params["train"] |= {"batch": 8, "total_kimg": 0.8, "snapshot_kimg": 0.4}
        params["train"]["eval_kimg"] = None
        params["runtime"] |= {"status_kimg": 0.04, "checkpoint_kimg": 0.04, "tracker": "none"}
        params["runtime"]["num_threads"] = 1
        (folder / "params.yaml").write_text(yaml.safe_dump(params))
        return Project(folder)

    return make


@pytest.fixture(scope="session")
def undisturbed(make_project: Callable[[str], Project]) -> Path:
    """The exported model of such a run that nothing interrupts; read it only."""
    return make_project("undisturbed").finish()
