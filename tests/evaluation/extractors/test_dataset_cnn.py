"""The data set's own classifier."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pipeline.core.errors import UserError
from pipeline.data.shards.reader import open_dataset
from pipeline.evaluation.extractors.dataset_cnn import (
    DatasetCnn,
    DatasetCnnConfig,
    classification_accuracy,
    random_affine,
    read_dataset_cnn,
    train_dataset_cnn,
    write_dataset_cnn,
)
from pipeline.evaluation.extractors.open_extractor import open_dataset_cnn
from tests.support.evaluated_models import Prepared
from tests.support.subjects import write_stripes

CONFIG = DatasetCnnConfig(resolution=32, channels=1, num_classes=3)


def _train(folder: Path, seed: int = 0) -> DatasetCnn:
    rows = open_dataset(folder).train
    return train_dataset_cnn(rows, CONFIG, epochs=2, seed=seed, device="cpu")


def test_training_repeats_to_the_bit_and_the_file_to_the_byte(
    prepared: Prepared, tmp_path: Path
) -> None:
    networks = [_train(prepared.shards), _train(prepared.shards)]
    for name, tensor in networks[0].state_dict().items():
        assert torch.equal(tensor, networks[1].state_dict()[name]), name
    facts = {"seed": 0, "heldout_accuracy": 0.5, "dataset_digest": "ab", "epochs": 2}
    for name, network in zip("ab", networks, strict=True):
        write_dataset_cnn(tmp_path / name, network, facts)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()

    other = _train(prepared.shards, seed=1).classifier.weight
    assert not torch.equal(other, networks[0].classifier.weight)


def test_it_recognises_digits_that_it_never_saw(digits_shards: Path) -> None:
    dataset = open_dataset(digits_shards)
    config = DatasetCnnConfig(resolution=32, channels=1, num_classes=10)
    network = train_dataset_cnn(dataset.train, config, epochs=4, seed=0, device="cpu")
    accuracy = classification_accuracy(network, dataset.heldout, "cpu")
    assert accuracy is not None
    assert accuracy >= 0.97


@pytest.mark.parametrize(("resolution", "channels"), [(64, 3), (128, 1)])
def test_it_learns_at_every_resolution(tmp_path: Path, resolution: int, channels: int) -> None:
    write_stripes(tmp_path, resolution=resolution, channels=channels)
    dataset = open_dataset(tmp_path)
    config = DatasetCnnConfig(resolution=resolution, channels=channels, num_classes=3)
    network = train_dataset_cnn(dataset.train, config, epochs=16, seed=0, device="cpu")
    assert classification_accuracy(network, dataset.heldout, "cpu") == 1


def test_without_heldout_images_there_is_no_accuracy(tmp_path: Path) -> None:
    write_stripes(tmp_path, per_class=4, heldout_fraction=0.0)
    dataset = open_dataset(tmp_path)
    assert classification_accuracy(DatasetCnn(CONFIG).eval(), dataset.heldout, "cpu") is None


def test_the_file_holds_network_and_facts(prepared: Prepared, tmp_path: Path) -> None:
    network = _train(prepared.shards)
    write_dataset_cnn(tmp_path / "w", network, {"seed": 0, "heldout_accuracy": None})
    again, facts = read_dataset_cnn(tmp_path / "w", "cpu")
    assert facts == {"seed": 0, "heldout_accuracy": None}
    assert again.config == CONFIG

    images = torch.randint(256, (5, 1, 32, 32), dtype=torch.uint8)
    features, logits = open_dataset_cnn(tmp_path / "w", "cpu").extract(images)
    expected = network(images.float() / 127.5 - 1)
    torch.testing.assert_close((features, logits), expected)
    assert features.shape == (5, 64)
    assert logits.shape == (5, 3)


def test_files_that_are_not_its_own_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    with pytest.raises(UserError, match="does not exist; `dvc repro reference` trains it"):
        read_dataset_cnn(path, "cpu")
    path.write_bytes(b"\0" * 100)
    with pytest.raises(UserError, match="is damaged"):
        read_dataset_cnn(path, "cpu")
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="is not a classifier of format"):
        read_dataset_cnn(path, "cpu")
    write_dataset_cnn(path, DatasetCnn(CONFIG), {})
    content = path.read_bytes()
    path.write_bytes(content.replace(b'\\"num_classes\\": 3', b'\\"num_classes\\": 4'))
    with pytest.raises(UserError, match=r"is damaged .*size mismatch.*dvc repro --force reference"):
        read_dataset_cnn(path, "cpu")


def test_augmentation_moves_each_image_a_little() -> None:
    image = torch.zeros(1, 1, 33, 33)
    image[..., 12:21, 12:21] = 1
    images = image.expand(64, -1, -1, -1)
    moved = random_affine(images, torch.Generator().manual_seed(0))
    rows = torch.arange(33.0)[:, None]
    mass = moved.sum(dim=(1, 2, 3))
    centres = (moved[:, 0] * rows).sum(dim=(1, 2)) / mass
    assert ((centres - 16).abs() < 2.5).all()  # a tenth of 16.5, with rotation and scale
    assert centres.std() > 0.5
    assert (mass / 81 - 1).abs().max() < 0.25
    again = random_affine(images, torch.Generator().manual_seed(0))
    assert torch.equal(moved, again)
