"""Reference statistics on disk."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.core.errors import UserError
from pipeline.data.shards.reader import open_dataset
from pipeline.evaluation.extractors.open_extractor import open_dataset_cnn
from pipeline.evaluation.reference.compute import Made
from pipeline.evaluation.reference.folder import read_reference, write_reference
from tests.support.evaluated_models import Prepared
from tests.support.subjects import write_references, write_stripes


def _make(shards: Path, out: Path, epochs: int = 1, **changes: Any) -> list[Made]:
    return write_references(open_dataset(shards), out, cnn_epochs=epochs, **changes)


@pytest.fixture
def copy(prepared: Prepared, tmp_path: Path) -> Path:
    """A reference to damage."""
    return shutil.copytree(prepared.reference, tmp_path / "reference")


def test_it_holds_moments_and_features_of_the_real_images(prepared: Prepared) -> None:
    folder = prepared.reference / "dataset-cnn"
    reference = read_reference(folder, prepared.manifest)
    dataset = open_dataset(prepared.shards)
    extractor = open_dataset_cnn(folder / "weights.safetensors", "cpu")
    assert reference.heldout is not None
    for rows, split in ((dataset.train, reference.train), (dataset.heldout, reference.heldout)):
        images = torch.from_numpy(rows.gather(np.arange(len(rows)))).permute(0, 3, 1, 2)
        features, logits = extractor.extract(images)
        np.testing.assert_allclose(split.features, features, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(split.logits, logits, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(split.labels, rows.labels)
        assert split.moments.count == len(rows)
        expected = np.cov(features.double().numpy(), rowvar=False)
        np.testing.assert_allclose(split.moments.covariance, expected, rtol=1e-4, atol=1e-8)
    protocol = reference.protocol
    assert protocol.dataset_digest == dataset.manifest.digest
    assert protocol.weights_sha256 == extractor.weights_sha256
    assert (protocol.num_train, protocol.num_heldout) == (len(dataset.train), len(dataset.heldout))
    correct = reference.heldout.logits.argmax(axis=1) == reference.heldout.labels
    assert protocol.heldout_accuracy == correct.mean()


def test_of_a_large_split_some_features_are_kept_and_all_are_in_the_moments(
    prepared: Prepared, tmp_path: Path
) -> None:
    _make(prepared.shards, tmp_path, keep_features=20)
    reference = read_reference(tmp_path / "dataset-cnn", prepared.manifest)
    rows = open_dataset(prepared.shards).train
    assert reference.train.moments.count == len(rows) > 20
    assert reference.train.features.shape == (20, 64)
    assert reference.protocol.num_kept_train == 20
    assert reference.protocol.num_kept_heldout == min(20, reference.protocol.num_heldout)
    assert len(np.unique(reference.train.features, axis=0)) == 20


def test_making_it_twice_gives_the_same_bytes(prepared: Prepared, tmp_path: Path) -> None:
    _make(prepared.shards, tmp_path / "a")
    _make(prepared.shards, tmp_path / "b", epochs=2)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*"))
    assert [f.name for f in files] == [
        "heldout.arrow",
        "moments.safetensors",
        "pixels.json",
        "protocol.json",
        "train.arrow",
        "weights.safetensors",
    ]
    weights = "dataset-cnn/weights.safetensors"
    assert (tmp_path / "a" / weights).read_bytes() != (tmp_path / "b" / weights).read_bytes()
    _make(prepared.shards, tmp_path / "b")  # over another one
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_without_heldout_images_there_is_no_baseline(tmp_path: Path) -> None:
    manifest = write_stripes(tmp_path / "shards", per_class=4, heldout_fraction=0.0)
    _make(tmp_path / "shards", tmp_path / "reference")
    reference = read_reference(tmp_path / "reference" / "dataset-cnn", manifest)
    assert reference.heldout is None
    assert reference.protocol.heldout_accuracy is None


def test_one_image_is_too_few(tmp_path: Path) -> None:
    write_stripes(tmp_path / "shards", per_class=1, num_classes=1, heldout_fraction=0.0)
    with pytest.raises(UserError, match="the training split holds 1 images; metrics need 2"):
        _make(tmp_path / "shards", tmp_path / "reference")
    assert not (tmp_path / "reference").exists()


def test_another_data_set_is_refused(prepared: Prepared, tmp_path: Path) -> None:
    other = write_stripes(tmp_path / "shards", seed=1)
    with pytest.raises(UserError, match=r"was made of another data set .* than these shards"):
        read_reference(prepared.reference / "dataset-cnn", other)


@pytest.mark.parametrize(
    "name", ["train.arrow", "moments.safetensors", "weights.safetensors", "pixels.json"]
)
def test_a_flipped_bit_is_found(copy: Path, prepared: Prepared, name: str) -> None:
    content = bytearray((copy / "dataset-cnn" / name).read_bytes())
    content[-5] ^= 1
    (copy / "dataset-cnn" / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name} is damaged .*dvc repro --force reference"):
        read_reference(copy / "dataset-cnn", prepared.manifest)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dataset-cnn/protocol.json", "protocol.json does not exist; .*`dvc repro reference`"),
        ("dataset-cnn/heldout.arrow", "heldout.arrow is missing; make it anew"),
        ("dataset-cnn/pixels.json", "pixels.json is missing; make it anew"),
    ],
)
def test_a_missing_file_is_named(copy: Path, prepared: Prepared, name: str, message: str) -> None:
    (copy / name).unlink()
    with pytest.raises(UserError, match=message):
        read_reference(copy / "dataset-cnn", prepared.manifest)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "sagan-lab/reference/3"}', "\0"])
def test_a_malformed_description_is_refused(copy: Path, prepared: Prepared, text: str) -> None:
    (copy / "dataset-cnn" / "protocol.json").write_text(text)
    with pytest.raises(UserError, match=r"protocol\.json is damaged"):
        read_reference(copy / "dataset-cnn", prepared.manifest)


def test_another_version_is_refused(copy: Path, prepared: Prepared) -> None:
    path = copy / "dataset-cnn" / "protocol.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": "sagan-lab/reference/0"}))
    with pytest.raises(UserError, match="of another version of this program"):
        read_reference(copy / "dataset-cnn", prepared.manifest)


def test_a_class_of_one_image_is_read_as_it_was_written(prepared: Prepared, copy: Path) -> None:
    folder = copy / "dataset-cnn"
    reference = read_reference(folder, prepared.manifest)
    deviations = np.array([1.25, np.nan, 3.0])
    changed = dataclasses.replace(reference, within_class_std=deviations, heldout=None)
    write_reference(folder, changed, {"train": [""] * len(reference.train.features)})
    found = read_reference(folder, prepared.manifest).within_class_std
    np.testing.assert_array_equal(found, deviations)
