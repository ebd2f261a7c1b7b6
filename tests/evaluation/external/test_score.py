"""Scores of external images are those of features computed directly, whatever the container."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.config.schema import EvaluateSection
from pipeline.core.errors import UserError
from pipeline.data.shards.reader import open_dataset
from pipeline.evaluation.external.score import Scored, score_images
from pipeline.evaluation.extractors.open_extractor import WEIGHTS_FILE, open_dataset_cnn
from pipeline.evaluation.extractors.weights import WeightSources
from pipeline.evaluation.metrics.frechet import fid_of_moments
from pipeline.evaluation.metrics.inception_score import inception_score
from pipeline.evaluation.metrics.moments import Moments
from tests.support.evaluated_models import Prepared
from tests.support.image_containers import (
    write_by_class,
    write_flat,
    write_hub,
    write_npz,
)

SETTINGS = EvaluateSection(
    num_samples=5000, seed=3, is_splits=2, kid_subsets=5, kid_subset_size=20, bootstrap=5
)
FIDS = 1e-6


@pytest.fixture
def score(prepared: Prepared, tmp_path: Path) -> Callable[..., Scored]:
    """Scores images against the data set, or `against` others; takes changed arguments."""

    def run(images: Path, against: Path | None = None, **changes: Any) -> Scored:
        arguments: dict[str, Any] = {
            "shards": prepared.shards,
            "extractors": ["dataset-cnn"],
            "reference_dir": prepared.reference,
            "sources": WeightSources(),
            "settings": SETTINGS,
            "resize": None,
            "scratch": tmp_path / "scratch",
            "device": "cpu",
            **changes,
        }
        return score_images(str(images), against=against and str(against), **arguments)

    return run


def _real(prepared: Prepared, split: str = "heldout") -> tuple[Any, Any, tuple[str, ...]]:
    dataset = open_dataset(prepared.shards)
    rows = getattr(dataset, split)
    images = rows.gather(np.arange(len(rows)))
    return images, np.array(rows.labels), dataset.manifest.class_names


def test_the_training_images_have_no_distance_from_themselves(prepared, score, tmp_path):
    theirs = write_by_class(tmp_path / "theirs", *_real(prepared, "train"))
    scored = score(theirs)
    metrics = scored.results.values
    assert abs(metrics["fid_dataset_cnn"]) < FIDS
    assert metrics["precision_dataset_cnn"] == metrics["recall_dataset_cnn"] == 1
    assert metrics["real_is_mean_dataset_cnn"] == pytest.approx(
        metrics["is_mean_dataset_cnn"], rel=0.05
    )
    entry = scored.results.protocols["fid_dataset_cnn"]
    assert entry["dataset_digest"] == prepared.manifest.digest
    assert entry["extractor"] == "dataset-cnn"
    assert entry["labels"] == "by the names of the folders"
    count = prepared.manifest.splits["train"].rows
    assert entry["num_generated"] == entry["num_real"] == count
    assert entry["images"]["path"] == str(theirs)
    assert entry["images"]["layout"] == "image files 2 folders down"
    assert (entry["images"]["count"], entry["images"]["size"]) == (count, "32x32")
    assert scored.notes == (f"{theirs}: passed over: 1 files without an image's name",)


def test_numbers_are_those_of_features_computed_directly(prepared, score, tmp_path):
    images, labels, names = _real(prepared)
    theirs = write_npz(tmp_path / "theirs", images, labels, names)
    metrics = score(theirs).results.values
    extractor = open_dataset_cnn(prepared.reference / "dataset-cnn" / WEIGHTS_FILE, "cpu")
    features, logits = extractor.extract(torch.from_numpy(images).permute(0, 3, 1, 2))
    train, _, _ = _real(prepared, "train")
    real, _ = extractor.extract(torch.from_numpy(train).permute(0, 3, 1, 2))
    expected = fid_of_moments(Moments.of(features.numpy()), Moments.of(real.numpy()))
    assert metrics["fid_dataset_cnn"] == pytest.approx(expected, rel=1e-4)
    assert metrics["baseline_fid_dataset_cnn"] == pytest.approx(expected, rel=1e-4)
    right = (logits.argmax(dim=1).numpy() == labels).mean()
    assert metrics["accuracy_dataset_cnn"] == pytest.approx(right)
    expected, _ = inception_score(logits.numpy(), 1)
    one_split = SETTINGS.model_copy(update={"is_splits": 1})
    metrics = score(theirs, settings=one_split).results.values
    assert metrics["is_mean_dataset_cnn"] == pytest.approx(expected, rel=1e-5)


def test_neither_container_nor_order_changes_a_number(prepared, score, tmp_path):
    images, labels, names = _real(prepared)
    backwards = slice(None, None, -1)
    places = [
        write_by_class(tmp_path / "folder", images, labels, names),
        write_npz(tmp_path / "npz", images[backwards], labels[backwards], names),
        write_hub(tmp_path / "hub", images, labels, names),
    ]
    scored = [score(place) for place in places]
    first, *others = [each.results.values for each in scored]
    for metrics in others:
        assert metrics == pytest.approx(first, rel=1e-12, abs=1e-12)
    digests = {each.results.protocols["fid_dataset_cnn"]["images"]["digest"] for each in scored}
    assert len(digests) == 1


def test_images_without_classes_lack_the_metrics_of_classes_alone(prepared, score, tmp_path):
    images, labels, names = _real(prepared)
    by_class = write_by_class(tmp_path / "classes", images, labels, names)
    flat = write_flat(tmp_path / "flat", images, labels, names)
    labelled = score(by_class).results.values
    scored = score(flat)
    lacking = labelled.keys() - scored.results.values.keys()
    assert {"accuracy_dataset_cnn", "intra_fid_dataset_cnn"} <= lacking
    assert all("accuracy" in key or "intra" in key for key in lacking)
    assert scored.notes == (
        f"{flat}: metrics by class are left out; labels: none: the images have none",
    )


def test_images_against_images_need_no_data_set(score, inception_file, tmp_path):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (12, 24, 24, 3), np.uint8)
    labels = np.arange(12) % 2
    ours = write_npz(tmp_path / "ours", images, labels, ("a", "b"))
    same = write_by_class(tmp_path / "same", images, labels, ("a", "b"))
    other = write_flat(tmp_path / "other", images // 2, labels, ("a", "b"))
    inception: dict[str, Any] = {
        "extractors": ["inception-v3-compat"],
        "reference_dir": tmp_path / "nowhere",
        "sources": WeightSources(files={"inception-v3-compat": str(inception_file)}),
    }
    scored = score(same, ours, **inception)
    metrics = scored.results.values
    key = "fid_inception_v3_unofficial"
    entry = scored.results.protocols[key]
    assert abs(metrics[key]) < 1e-3
    assert (entry["dataset"], entry["reference_split"]) == (None, None)
    assert entry["against"]["digest"] == entry["images"]["digest"]
    assert entry["against"]["path"] == str(ours)
    distance = score(other, ours, **inception).results.values[key]
    assert distance > 100 * abs(metrics[key])


def test_the_data_sets_classifier_scores_images_of_its_size_alone(prepared, score, tmp_path):
    images, labels, names = _real(prepared)
    large = write_npz(tmp_path / "large", images.repeat(2, 1).repeat(2, 2), labels, names)
    small = write_npz(tmp_path / "small", images, labels, names)
    for against in (None, large):
        with pytest.raises(
            UserError, match=r"all images are 64x64, the data set's 32x32; .*--resi"
        ):
            score(large, against)
        resized = score(large, against, resize=32).results
        entry = resized.protocols["fid_dataset_cnn"]["images"]
        assert entry["sizes_found"] == {"64x64": len(images)}
        assert entry["size"] == "32x32"
    metrics = score(small, small).results.values
    assert abs(metrics["fid_dataset_cnn"]) < FIDS
    assert "accuracy_dataset_cnn" not in metrics


class _Logarithm(torch.nn.Module):
    """Features that black images do not have."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.float().mean(dim=(2, 3)).log()


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_features_that_are_not_finite_name_the_image(score, tmp_path):
    torch.jit.script(_Logarithm()).save(str(tmp_path / "logarithm.pt"))
    own = {"extractors": [str(tmp_path / "logarithm.pt")]}
    images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
    theirs = write_npz(tmp_path / "theirs", images, np.zeros(8, int), ("a",))
    metrics = score(theirs, theirs, **own).results.values
    assert abs(metrics["fd_logarithm"]) < FIDS
    images[3] = 0
    dark = write_flat(tmp_path / "dark", images, np.zeros(8, int), ("a",))
    with pytest.raises(UserError, match=r"not finite for 0003\.png; leave that image out"):
        score(dark, theirs, **own)


def test_missing_reference_statistics_are_refused(prepared, score, tmp_path):
    theirs = write_flat(tmp_path / "theirs", *_real(prepared))
    with pytest.raises(UserError, match=r"manifest\.json does not exist; make the shards"):
        score(theirs, shards=tmp_path / "nowhere")
    nowhere = tmp_path / "nowhere"
    with pytest.raises(UserError, match=r"nowhere.* does not exist; .*`dvc repro reference`"):
        score(theirs, reference_dir=nowhere)
    with pytest.raises(UserError, match=r"nowhere.* does not exist; name another extractor, such"):
        score(theirs, theirs, reference_dir=nowhere)
