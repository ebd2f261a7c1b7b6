"""Fixtures that several rooms share."""

from pathlib import Path

import pytest
import yaml

from pipeline.data.ingest import write_dataset
from pipeline.data.recipe import Recipe
from pipeline.data.sources.select import open_source

ROOT = Path(__file__).resolve().parents[1]


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
