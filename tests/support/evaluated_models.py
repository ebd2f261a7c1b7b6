"""Data sets, models and weights that several tests read."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.data.shards.manifest import Manifest, read_manifest
from pipeline.data.shards.reader import open_dataset
from tests.support.inception_weights import write_random_inception
from tests.support.subjects import write_model, write_references, write_stripes


@dataclass(frozen=True)
class Prepared:
    """Folders of the stages before the evaluation; read them only."""

    root: Path

    @property
    def shards(self) -> Path:
        return self.root / "shards"

    @property
    def reference(self) -> Path:
        return self.root / "reference"

    @property
    def model(self) -> Path:
        return self.root / "model"

    @property
    def manifest(self) -> Manifest:
        return read_manifest(self.shards)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Shards of stripes, their reference under dataset-cnn and an untrained model."""
    prepared = Prepared(tmp_path_factory.mktemp("prepared"))
    manifest = write_stripes(prepared.shards)
    write_references(open_dataset(prepared.shards), prepared.reference, cnn_epochs=16)
    write_model(prepared.model, manifest)
    return prepared


@pytest.fixture(scope="session")
def stripes(prepared: Prepared) -> Manifest:
    """The manifest of the stripes."""
    return prepared.manifest


@pytest.fixture(scope="session")
def inception_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of torch-fidelity's Inception; read it only."""
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    write_random_inception(path)
    return path
