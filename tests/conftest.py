"""Fixtures that tests of several packages use."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from pipeline.data.ingest.dataset import write_dataset
from pipeline.data.ingest.preprocessing import Recipe
from pipeline.data.sources.select import open_source
from tests.support.project import ROOT


@pytest.fixture(scope="session")
def digits_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of shards of the digits at 32x32; read it only."""
    out = tmp_path_factory.mktemp("digits") / "shards"
    write_dataset(
        open_source("digits"),
        out,
        Recipe(resolution=32, channels=1),
        heldout_fraction=0.2,
        shard_rows=16384,
    )
    return out


@pytest.fixture(scope="session")
def default_params() -> dict:
    """The content of the project's own params.yaml."""
    return yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def mount_disk() -> Iterator[Callable[[Path, str], Path]]:
    """Mounts an empty file system of a size such as `8m` on a new folder, and gives the folder."""
    mounted = []

    def mount(folder: Path, size: str) -> Path:
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"cannot mount a small file system: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)
