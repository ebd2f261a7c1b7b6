"""Scoring a model: the numbers, their protocol, the samples, and what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.data.reader import open_dataset
from pipeline.errors import UserError
from pipeline.evaluation.evaluate import EvaluationFiles, evaluate_model
from pipeline.evaluation.model_side import recognised
from pipeline.evaluation.real_side import choose_floor, real_splits
from pipeline.evaluation.reference import make_references
from pipeline.evaluation.reference_folder import read_reference
from pipeline.evaluation.settings import EvaluateSettings
from pipeline.storage.digest import sha256_file
from tests.evaluation.conftest import Prepared
from tests.evaluation.subjects import write_model, write_stripes

SETTINGS = EvaluateSettings(
    num_samples=125, seed=3, is_splits=5, kid_subsets=10, kid_subset_size=300
)
PER_MODEL = (
    "fid",
    "matched_fid",
    "is_mean",
    "is_std",
    "kid_mean",
    "kid_std",
    "accuracy",
    "accuracy_min_class",
)
OF_REAL_DATA = (
    "real_is_mean",
    "real_is_std",
    "heldout_accuracy",
    "floor_fid",
    "floor_kid_mean",
    "floor_kid_std",
)
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


def _files(folder: Path) -> EvaluationFiles:
    return EvaluationFiles(
        metrics=folder / "metrics.json",
        protocol=folder / "protocol.json",
        samples=folder / "samples",
    )


def _evaluate(
    prepared: Prepared, out: Path, settings: EvaluateSettings = SETTINGS, **changes: Any
) -> dict[str, float]:
    arguments: dict[str, Any] = {
        "model_dir": prepared.model,
        "reference_dir": prepared.reference,
        "manifest": prepared.manifest,
        "extractors": ["dataset-cnn"],
        "inception_weights": None,
        "device": "cpu",
        **changes,
    }
    return evaluate_model(files=_files(out), settings=settings, **arguments)


@pytest.fixture(scope="module")
def evaluated(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outs of one evaluation; read them only."""
    out = tmp_path_factory.mktemp("evaluated")
    _evaluate(prepared, out)
    return out


def _read(out: Path) -> tuple[dict[str, float], dict[str, dict[str, Any]]]:
    metrics, protocol = ((out / f"{name}.json").read_text() for name in ("metrics", "protocol"))
    return json.loads(metrics), json.loads(protocol)


def test_every_number_has_its_protocol(evaluated: Path, prepared: Prepared) -> None:
    metrics, protocol = _read(evaluated)
    expected = {f"{name}_dataset_cnn{raw}" for name in PER_MODEL for raw in ("", "_raw")}
    expected |= {f"{name}_dataset_cnn" for name in OF_REAL_DATA}
    expected |= {"within_class_std_ratio", "within_class_std_ratio_raw"}
    assert set(metrics) == set(protocol) == expected
    weights = sha256_file(prepared.reference / "dataset-cnn" / "weights.safetensors")
    for key, entry in protocol.items():
        assert not set(EVERY_ENTRY) - set(entry), key
        assert entry["dataset_digest"] == prepared.manifest.digest
        if entry["extractor"] is not None:
            assert (entry["extractor"], entry["weights_sha256"]) == ("dataset-cnn", weights)
        of_model = key.removesuffix("_raw").removesuffix("_dataset_cnn") not in OF_REAL_DATA
        assert entry["weights"] == (
            None if not of_model else "raw" if key.endswith("_raw") else "EMA"
        ), key
        assert (entry["num_generated"] > 0) == of_model


def test_the_protocol_states_the_counts(evaluated: Path, prepared: Prepared) -> None:
    _, protocol = _read(evaluated)
    splits = prepared.manifest.splits
    train, heldout = splits["train"].rows, splits["heldout"].rows
    entry = protocol["fid_dataset_cnn"]
    assert (entry["num_generated"], entry["num_real"]) == (125, train)
    assert entry["labels"] == "uniform: each of 3 classes 41 times, 2 classes once more"
    entry = protocol["matched_fid_dataset_cnn_raw"]
    assert (entry["num_generated"], entry["sets"]) == (heldout, 125 // heldout)
    entry = protocol["floor_fid_dataset_cnn"]
    assert (entry["num_compared"], entry["num_real"]) == (heldout, train)
    entry = protocol["kid_mean_dataset_cnn"]
    assert (entry["subsets"], entry["subset_size"]) == (10, train)  # the split has fewer than 300
    assert protocol["floor_kid_std_dataset_cnn"]["subset_size"] == heldout
    entry = protocol["is_mean_dataset_cnn"]
    assert (entry["splits"], entry["images_per_split"]) == (5, 25)
    entry = protocol["real_is_std_dataset_cnn"]
    assert (entry["splits"], entry["images_per_split"]) == (3, train // 3)


def test_numbers_lie_where_they_can(evaluated: Path) -> None:
    metrics, _ = _read(evaluated)
    assert metrics["heldout_accuracy_dataset_cnn"] == 1
    # Real images of three classes, told apart, against an untrained generator's noise.
    assert 1.5 < metrics["real_is_mean_dataset_cnn"] <= 3
    assert 1 <= metrics["is_mean_dataset_cnn"] < metrics["real_is_mean_dataset_cnn"]
    assert metrics["floor_fid_dataset_cnn"] < metrics["matched_fid_dataset_cnn"] / 3
    assert metrics["floor_kid_mean_dataset_cnn"] < metrics["kid_mean_dataset_cnn"] / 3
    # Fewer images, more bias.
    assert metrics["matched_fid_dataset_cnn"] > metrics["fid_dataset_cnn"]
    for raw in ("", "_raw"):
        share = metrics[f"accuracy_dataset_cnn{raw}"]
        assert metrics[f"accuracy_min_class_dataset_cnn{raw}"] <= share < 0.7
    assert metrics["fid_dataset_cnn"] != metrics["fid_dataset_cnn_raw"]
    assert metrics["within_class_std_ratio"] > 0


def test_evaluating_twice_gives_the_same_files(
    evaluated: Path, prepared: Prepared, tmp_path: Path
) -> None:
    metrics = _evaluate(prepared, tmp_path)
    assert metrics == _read(evaluated)[0]
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
    # One class and no floor: Inception is slow.
    manifest = write_stripes(
        tmp_path / "shards", per_class=4, num_classes=1, channels=3, heldout_fraction=0.0
    )
    write_model(tmp_path / "model", manifest)
    both: Any = ["dataset-cnn", "inception-v3-compat"]
    make_references(
        open_dataset(tmp_path / "shards"),
        tmp_path / "reference",
        extractors=both,
        inception_weights=str(inception_file),
        cnn_epochs=1,
        seed=0,
        device="cpu",
    )
    settings = EvaluateSettings(
        num_samples=4, seed=0, is_splits=2, kid_subsets=2, kid_subset_size=4
    )

    def evaluate(name: str, weights: Path) -> None:
        out = tmp_path / name
        changes = {"extractors": both, "inception_weights": str(weights)}
        _evaluate(Prepared(tmp_path), out, settings, **changes)

    evaluate("out", inception_file)
    metrics, protocol = _read(tmp_path / "out")
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
        evaluate("none", tmp_path / "other.pth")
    assert not (tmp_path / "none").exists()


def _another_model(prepared: Prepared, tmp_path: Path) -> dict[str, Any]:
    write_model(tmp_path / "model", write_stripes(tmp_path / "shards", seed=1))
    return {"model_dir": tmp_path / "model"}


def _another_reference(prepared: Prepared, tmp_path: Path) -> dict[str, Any]:
    manifest = write_stripes(tmp_path / "shards", seed=1)
    write_model(tmp_path / "model", manifest)
    return {"manifest": manifest, "model_dir": tmp_path / "model"}


def _other_weights(prepared: Prepared, tmp_path: Path) -> dict[str, Any]:
    make_references(
        open_dataset(prepared.shards),
        tmp_path / "other",
        extractors=["dataset-cnn"],
        inception_weights=None,
        cnn_epochs=1,
        seed=9,
        device="cpu",
    )
    folder = shutil.copytree(prepared.reference, tmp_path / "reference")
    name = "dataset-cnn/weights.safetensors"
    shutil.copyfile(tmp_path / "other" / name, folder / name)
    return {"reference_dir": folder}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_another_model, r"generator\.safetensors was made of another data set .*`dvc repro`"),
        (_another_reference, r"protocol\.json was made of another data set"),
        (_other_weights, r"weights\.safetensors is damaged or not of this protocol\.json"),
        (lambda p, t: {"model_dir": t}, r"generator\.safetensors does not exist; `dvc repro train"),
        (lambda p, t: {"reference_dir": t}, r"protocol\.json does not exist; .*`dvc repro refer"),
        (
            lambda p, t: {"extractors": ["dataset-cnn", "inception-v3-compat"]},
            r"inception-v3-compat.protocol\.json does not exist; make it with `dvc repro referenc",
        ),
    ],
)
def test_a_mistake_is_told_and_nothing_is_written(
    prepared: Prepared,
    tmp_path: Path,
    change: Callable[[Prepared, Path], dict[str, Any]],
    message: str,
) -> None:
    with pytest.raises(UserError, match=message):
        _evaluate(prepared, tmp_path / "out", **change(prepared, tmp_path))
    assert not (tmp_path / "out").exists()


def test_too_few_samples_are_told(prepared: Prepared, tmp_path: Path) -> None:
    settings = EvaluateSettings(
        num_samples=5, seed=0, is_splits=1, kid_subsets=1, kid_subset_size=2
    )
    with pytest.raises(UserError, match=r"evaluate.num_samples = 5 is too few for 3 classes"):
        _evaluate(prepared, tmp_path / "out", settings)


def test_without_heldout_images_there_is_no_floor(tmp_path: Path) -> None:
    manifest = write_stripes(tmp_path / "shards", per_class=4, heldout_fraction=0.0)
    write_model(tmp_path / "model", manifest)
    make_references(
        open_dataset(tmp_path / "shards"),
        tmp_path / "reference",
        extractors=["dataset-cnn"],
        inception_weights=None,
        cnn_epochs=1,
        seed=0,
        device="cpu",
    )
    metrics = _evaluate(Prepared(tmp_path), tmp_path / "out")
    assert "fid_dataset_cnn" in metrics
    assert not [k for k in metrics if k.startswith(("floor", "matched", "heldout"))]


def test_the_floor_takes_no_more_images_than_are_generated(prepared: Prepared) -> None:
    reference = read_reference(prepared.reference / "dataset-cnn", prepared.manifest)
    assert reference.heldout is not None
    count = len(reference.heldout.features)
    floor = choose_floor(reference, count + 5)
    assert floor is not None
    assert (floor.count, floor.collected) == (count, reference.heldout)
    floor = choose_floor(reference, 7)
    assert floor is not None
    assert floor.count == floor.collected.moments.count == len(floor.collected.features) == 7
    known = {row.tobytes() for row in reference.heldout.features}
    assert len({row.tobytes() for row in floor.collected.features} & known) == 7


@pytest.mark.parametrize(
    ("num_real", "num_samples", "is_splits", "expected"),
    [
        (1426, 5000, 10, (3, 475)),
        (50_000, 5000, 10, (10, 5000)),
        (100, 5000, 10, (1, 100)),
        (5, 10, 100, (5, 1)),
    ],
)
def test_real_splits_are_near_the_size_of_the_generated_ones(
    num_real: int, num_samples: int, is_splits: int, expected: tuple[int, int]
) -> None:
    settings = EvaluateSettings(
        num_samples=num_samples, seed=0, is_splits=is_splits, kid_subsets=1, kid_subset_size=2
    )
    assert real_splits(num_real, settings) == expected


def test_recognised_counts_by_class(prepared: Prepared) -> None:
    train = read_reference(prepared.reference / "dataset-cnn", prepared.manifest).train
    share, by_class = recognised(train)
    assert (share, by_class.tolist()) == (1, [1, 1, 1])
    train.labels[train.labels == 2] = 1  # class 2 is not asked for any more
    share, by_class = recognised(train)
    thirds = np.bincount(train.labels)
    right = np.bincount(train.logits.argmax(axis=1))[1]
    assert share == pytest.approx((thirds[0] + right) / len(train.labels))
    assert by_class[:2] == pytest.approx([1, right / thirds[1]])
    assert np.isnan(by_class[2])
