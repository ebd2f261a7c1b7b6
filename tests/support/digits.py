"""The shards of the digits."""

from pathlib import Path

import pytest

from pipeline.data.ingest.dataset import write_dataset
from pipeline.data.ingest.preprocessing import Preprocessing
from pipeline.data.sources.select import open_source


@pytest.fixture(scope="session")
def digits_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of shards of the digits at 32x32; read it only."""
    out = tmp_path_factory.mktemp("digits") / "shards"
    write_dataset(
        open_source("digits"),
        out,
        Preprocessing(resolution=32, channels=1),
        heldout_fraction=0.2,
        shard_rows=16384,
    )
    return out
