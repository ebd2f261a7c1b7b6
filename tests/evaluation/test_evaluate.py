"""Scoring a model: the numbers, their protocol and the samples."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.config.extractors import INCEPTION
from pipeline.config.schema import EvaluateSection
from pipeline.core.errors import UserError
from pipeline.data.shards.reader import open_dataset
from pipeline.evaluation.extractors.weights import WeightSources
from pipeline.storage.digest import sha256_file
from tests.support.evaluated_models import Prepared
from tests.support.evaluation_run import evaluate, read_outs
from tests.support.subjects import write_model, write_references, write_stripes

MATCHED = ("fid", "precision", "recall", "density", "coverage", "intra_fid")
PER_MODEL = (
    *MATCHED,
    *(f"matched_{stem}" for stem in MATCHED),
    "is_mean",
    "kid_mean",
    "memorisation_ratio",
    "memorised_share",
    "accuracy",
    "accuracy_min_class",
)
OF_REAL_DATA = (
    *(f"baseline_{stem}" for stem in MATCHED),
    "baseline_kid_mean",
    "baseline_memorisation_ratio",
    "baseline_memorised_share",
    "real_is_mean",
    "heldout_accuracy",
)
STDS_PER_MODEL = ("is_std", "kid_std")
STDS_OF_REAL_DATA = ("real_is_std", "baseline_kid_std")
ENDS = ("_ci95_low", "_ci95_high")
EVERY_ENTRY = (
    "dataset",
    "dataset_digest",
    "extractor",
    "formula",
    "labels",
    "num_generated",
    "num_real",
    "quantisation",
    "reference_split",
    "resize",
    "seed",
    "versions",
    "weights",
    "weights_sha256",
)


@pytest.fixture(scope="module")
def evaluated(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outs of one evaluation; read them only."""
    out = tmp_path_factory.mktemp("evaluated")
    evaluate(prepared, out)
    return out


def test_every_number_has_its_protocol(evaluated: Path, prepared: Prepared) -> None:
    metrics, protocol = read_outs(evaluated)
    of_model = {f"{name}_dataset_cnn{raw}" for name in PER_MODEL for raw in ("", "_raw")}
    of_real_data = {f"{name}_dataset_cnn" for name in OF_REAL_DATA}
    with_interval = of_model | of_real_data
    of_model |= {f"{name}_dataset_cnn{raw}" for name in STDS_PER_MODEL for raw in ("", "_raw")}
    of_model |= {"within_class_std_ratio", "within_class_std_ratio_raw"}
    of_real_data |= {f"{name}_dataset_cnn" for name in STDS_OF_REAL_DATA}
    ends = {key + end for key in with_interval for end in ENDS}
    assert set(metrics) == set(protocol)
    assert of_model | of_real_data | ends <= set(metrics)
    for key in with_interval:
        low, high = (metrics[key + end] for end in ENDS)
        assert low <= metrics[key] <= high, key
        assert "standard deviations of" in protocol[key]["interval"]
    weights = sha256_file(prepared.reference / "dataset-cnn" / "weights.safetensors")
    for key, entry in protocol.items():
        assert not set(EVERY_ENTRY) - set(entry), key
        assert entry["dataset_digest"] == prepared.manifest.digest
        if entry["extractor"] is not None:
            assert (entry["extractor"], entry["weights_sha256"]) == ("dataset-cnn", weights)
        number = key.removesuffix(ENDS[0]).removesuffix(ENDS[1])
        is_real = number.startswith(("baseline_", "real_", "heldout_"))
        weights_of = None if is_real else "raw" if number.endswith("_raw") else "EMA"
        assert entry["weights"] == weights_of, key
        assert (entry["num_generated"] > 0) == (not is_real), key


def test_the_protocol_states_the_counts(evaluated: Path, prepared: Prepared) -> None:
    _, protocol = read_outs(evaluated)
    splits = prepared.manifest.splits
    train, heldout = splits["train"].rows, splits["heldout"].rows
    entry = protocol["fid_dataset_cnn"]
    assert (entry["num_generated"], entry["num_real"]) == (125, train)
    assert entry["labels"] == "uniform: each of 3 classes 41 times, 2 classes once more"
    entry = protocol["matched_fid_dataset_cnn_raw"]
    assert (entry["num_generated"], entry["sets"]) == (heldout, 125 // heldout)
    entry = protocol["baseline_fid_dataset_cnn"]
    assert (entry["num_compared"], entry["num_real"]) == (heldout, train)
    entry = protocol["kid_mean_dataset_cnn"]
    assert (entry["subsets"], entry["subset_size"]) == (10, train)  # the split has fewer than 300
    assert protocol["baseline_kid_std_dataset_cnn"]["subset_size"] == heldout
    entry = protocol["is_mean_dataset_cnn"]
    assert (entry["splits"], entry["images_per_split"]) == (5, 25)
    entry = protocol["real_is_std_dataset_cnn"]
    assert (entry["splits"], entry["images_per_split"]) == (3, train // 3)


def test_numbers_lie_where_they_can(evaluated: Path) -> None:
    metrics, _ = read_outs(evaluated)
    assert metrics["heldout_accuracy_dataset_cnn"] == 1
    # Real images of three classes, told apart, against an untrained generator's noise.
    assert 1.5 < metrics["real_is_mean_dataset_cnn"] <= 3
    assert 1 <= metrics["is_mean_dataset_cnn"] < metrics["real_is_mean_dataset_cnn"]
    assert metrics["baseline_fid_dataset_cnn"] < metrics["matched_fid_dataset_cnn"] / 3
    assert metrics["baseline_kid_mean_dataset_cnn"] < metrics["kid_mean_dataset_cnn"] / 3
    for raw in ("", "_raw"):
        share = metrics[f"accuracy_dataset_cnn{raw}"]
        assert metrics[f"accuracy_min_class_dataset_cnn{raw}"] <= share < 0.7
    assert metrics["fid_dataset_cnn"] != metrics["fid_dataset_cnn_raw"]
    assert metrics["within_class_std_ratio"] > 0


def test_evaluating_twice_gives_the_same_files(
    evaluated: Path, prepared: Prepared, tmp_path: Path
) -> None:
    metrics = evaluate(prepared, tmp_path)
    assert metrics == read_outs(evaluated)[0]
    for name in ("metrics.json", "protocol.json", "samples/class_grid.png"):
        assert (evaluated / name).read_bytes() == (tmp_path / name).read_bytes()


def test_the_samples_are_for_people(evaluated: Path) -> None:
    with Image.open(evaluated / "samples" / "class_grid.png") as grid:
        assert (grid.size, grid.mode) == ((10 * 32, 3 * 32), "L")
        pixels = np.asarray(grid)
    with np.load(evaluated / "samples" / "attention.npz") as archive:
        assert sorted(archive) == ["class_names", "images", "labels", "maps_16"]
        assert archive["class_names"].tolist() == ["left", "middle", "right"]
        assert archive["labels"].tolist() == [0, 1, 2] * 5 + [0]
        assert archive["images"].shape == (16, 32, 32, 1)
        assert archive["images"].dtype == np.uint8
        assert archive["maps_16"].shape == (16, 16, 16, 8, 8)
        assert archive["maps_16"].dtype == np.float32
        np.testing.assert_allclose(archive["maps_16"].sum(axis=(3, 4)), 1, rtol=1e-5)
        assert len(np.unique(archive["images"].reshape(16, -1), axis=0)) == 16
    tiles = pixels.reshape(3, 32, 10, 32).transpose(0, 2, 1, 3).reshape(30, -1)
    assert len(np.unique(tiles, axis=0)) == 30


def test_unofficial_inception_weights_bear_their_suffix(
    prepared: Prepared, inception_file: Path, tmp_path: Path
) -> None:
    # One class and no baseline: Inception is slow.
    manifest = write_stripes(
        tmp_path / "shards", per_class=4, num_classes=1, channels=3, heldout_fraction=0.0
    )
    write_model(tmp_path / "model", manifest)
    both: Any = ["dataset-cnn", "inception-v3-compat"]
    write_references(
        open_dataset(tmp_path / "shards"),
        tmp_path / "reference",
        extractors=both,
        sources=WeightSources(files={INCEPTION: str(inception_file)}),
    )
    settings = EvaluateSection.model_construct(
        num_samples=4, seed=0, is_splits=2, kid_subsets=2, kid_subset_size=4
    )

    def score(name: str, weights: Path) -> None:
        out = tmp_path / name
        changes = {"extractors": both, "sources": WeightSources(files={INCEPTION: str(weights)})}
        evaluate(Prepared(tmp_path), out, settings, **changes)

    score("out", inception_file)
    metrics, protocol = read_outs(tmp_path / "out")
    assert metrics["fid_inception_v3_unofficial"] > 0
    assert metrics["real_is_mean_inception_v3_unofficial"] >= 1
    entry = protocol["kid_mean_inception_v3_unofficial_raw"]
    assert entry["weights_sha256"] == sha256_file(inception_file)
    assert not entry["weights_official"]
    assert entry["resize"].startswith("299x299")
    assert not [k for k in metrics if k in ("fid", "is_mean", "kid_mean")]
    assert not [k for k in metrics if k.startswith(("accuracy_incep", "heldout_accuracy_incep"))]

    state = torch.load(inception_file, weights_only=True)
    torch.save({**state, "fc.bias": state["fc.bias"] + 1}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="was made with other weights"):
        score("none", tmp_path / "other.pth")
    assert not (tmp_path / "none").exists()


def test_without_heldout_images_there_is_no_baseline(tmp_path: Path) -> None:
    manifest = write_stripes(tmp_path / "shards", per_class=4, heldout_fraction=0.0)
    write_model(tmp_path / "model", manifest)
    write_references(open_dataset(tmp_path / "shards"), tmp_path / "reference")
    metrics = evaluate(Prepared(tmp_path), tmp_path / "out")
    assert "fid_dataset_cnn" in metrics
    assert not [k for k in metrics if k.startswith(("baseline", "matched", "heldout"))]
