"""Which metrics are measured of a set of images, on what, and which are left out."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from pipeline.config.schema import EvaluateSection
from pipeline.evaluation import evaluate
from pipeline.evaluation.executor import ParallelExecutor
from pipeline.evaluation.features import FeatureStatistics
from pipeline.evaluation.measure import measure_generated, measure_reference
from pipeline.evaluation.metric_results import MetricResults, lines
from pipeline.evaluation.metrics.frechet import fid_of_moments
from pipeline.evaluation.metrics.inception_score import real_splits
from pipeline.evaluation.metrics.moments import Moments
from pipeline.evaluation.reference.folder import open_references, read_reference
from pipeline.evaluation.reference.statistics import ReferenceProtocol, ReferenceStatistics
from pipeline.evaluation.sampling import draw
from pipeline.training.generator import load_generator
from tests.support.evaluated_models import Prepared

NAMES = ("ant", "bee", "cat")
SETTINGS = EvaluateSection(
    num_samples=300, seed=0, is_splits=3, kid_subsets=5, kid_subset_size=50, bootstrap=5
)


def _statistics(seed: int, count: int, dim: int = 8, shift: float = 0.0) -> FeatureStatistics:
    random = np.random.default_rng(seed)
    labels = np.arange(count) % len(NAMES)
    features = (random.normal(size=(count, dim)) + shift).astype(np.float32)
    features[:, 0] += 3 * labels
    logits = random.normal(size=(count, len(NAMES))).astype(np.float32)
    logits[np.arange(count), labels] += 2
    moments = Moments.of(features)
    return FeatureStatistics(moments=moments, features=features, logits=logits, labels=labels)


def _reference(
    train: FeatureStatistics,
    heldout: FeatureStatistics | None,
    extractor: str,
    class_names: Sequence[str] | None,
) -> ReferenceStatistics:
    protocol = ReferenceProtocol(
        extractor=extractor,
        weights_sha256="ab" * 32,
        official=True,
        feature_dim=train.features.shape[1],
        resize="none",
        dataset_digest="cd" * 32,
        dataset_name="animals",
        num_classes=len(NAMES),
        num_train=len(train.features),
        num_kept_train=len(train.features),
        num_heldout=0 if heldout is None else len(heldout.features),
        num_kept_heldout=0 if heldout is None else len(heldout.features),
        heldout_accuracy=None,
        training=None,
        versions={},
    )
    return ReferenceStatistics(
        protocol=protocol, train=train, heldout=heldout, class_names=class_names
    )


def _measure(
    generated: FeatureStatistics,
    settings: EvaluateSection = SETTINGS,
    train: FeatureStatistics | None = None,
    heldout: FeatureStatistics | None = None,
    extractor: str = "inception-v3-compat",
    class_names: Sequence[str] | None = NAMES,
) -> MetricResults:
    results = MetricResults({"dataset": "animals"})
    reference = _reference(train or _statistics(1, 400), heldout, extractor, class_names)
    reference = reference.with_baseline(len(generated.features))
    measure_generated(results, generated, reference, settings, {})
    measure_reference(results, reference, settings, {})
    return results


def _plain(results: MetricResults) -> set[str]:
    return {key for key in results.values if "_ci95_" not in key}


FAMILY_KEYS = {
    "fid": {"fid", "matched_fid", "baseline_fid"},
    "is": {"is_mean", "is_std", "real_is_mean", "real_is_std"},
    "kid": {"kid_mean", "kid_std", "baseline_kid_mean", "baseline_kid_std"},
    "prc": {
        f"{side}{s}" for s in ("precision", "recall") for side in ("", "matched_", "baseline_")
    },
    "prdc": {
        f"{side}{s}" for s in ("density", "coverage") for side in ("", "matched_", "baseline_")
    },
    "intra-fid": {"intra_fid", "matched_intra_fid", "baseline_intra_fid"},
    "memorisation": {
        f"{side}{stem}"
        for stem in ("memorisation_ratio", "memorised_share")
        for side in ("", "baseline_")
    },
}


@pytest.mark.parametrize("family", FAMILY_KEYS)
def test_a_family_alone_has_its_numbers_and_those_of_real_images(family: Any) -> None:
    settings = SETTINGS.model_copy(update={"metrics": [family]})
    results = _measure(_statistics(0, 300), settings, heldout=_statistics(2, 120))
    assert _plain(results) == FAMILY_KEYS[family]


def test_without_replicates_there_are_no_intervals() -> None:
    results = _measure(_statistics(0, 300), SETTINGS.model_copy(update={"bootstrap": 0}))
    assert _plain(results) == set(results.values)
    with_intervals = _measure(_statistics(0, 300))
    ends = {k for k in with_intervals.values if "_ci95_" in k}
    assert ends
    for key, value in results.values.items():
        assert with_intervals.values[key] == pytest.approx(value, rel=1e-12)


def test_lines_put_the_interval_beside_its_number() -> None:
    values = {"fid": 2.0, "fid_ci95_low": 1.5, "fid_ci95_high": 2.5, "is_std": 0.25}
    assert [line.split() for line in lines(values)] == [
        ["fid", "2.0000", "[1.5000,", "2.5000]"],
        ["is_std", "0.2500"],
    ]


def test_real_images_of_the_same_kind_are_as_good_as_heldout_ones() -> None:
    results = _measure(_statistics(0, 300), heldout=_statistics(2, 120))
    values = results.values
    assert values["matched_fid"] == pytest.approx(values["baseline_fid"], rel=0.5)
    for stem in ("precision", "recall", "coverage", "density"):
        assert values[f"matched_{stem}"] == pytest.approx(values[f"baseline_{stem}"], abs=0.12)
    assert values["memorisation_ratio"] == pytest.approx(1, abs=0.1)
    assert values["baseline_memorisation_ratio"] == pytest.approx(1, abs=0.15)
    assert values["matched_intra_fid"] == pytest.approx(values["baseline_intra_fid"], rel=0.3)


def test_repeated_training_images_are_found() -> None:
    train = _statistics(1, 400)
    copies = FeatureStatistics(
        moments=Moments.of(train.features[:300] + np.float32(1e-4)),
        features=train.features[:300] + np.float32(1e-4),
        logits=train.logits[:300],
        labels=None,
    )
    values = _measure(copies, train=train, heldout=_statistics(2, 120)).values
    assert values["memorisation_ratio"] < 0.01
    assert values["memorised_share"] == 1


def test_fewer_images_than_features_are_flagged(capsys: pytest.CaptureFixture[str]) -> None:
    results = _measure(_statistics(0, 30, dim=40), train=_statistics(1, 400, dim=40))
    assert "30 images in 40 dimensions" in results.protocols["fid"]["bias"]
    assert "fid_infinity" in results.protocols["fid"]["bias"]
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert "fid is of 30 images in 40 dimensions" in printed
    assert "from 10,000 images on there is fid_infinity" in printed
    assert results.values["fid"] > 0

    results = _measure(_statistics(0, 50, dim=40), train=_statistics(1, 400, dim=40))
    assert "bias" not in results.protocols["fid"]
    assert capsys.readouterr().err == ""


def test_fid_infinity_takes_10000_images() -> None:
    settings = SETTINGS.model_copy(update={"metrics": ["fid", "fid-infinity"]})
    train, generated = _statistics(1, 400), _statistics(0, 10_000, shift=0.1)
    results = _measure(generated, settings, train=train)
    values, entry = results.values, results.protocols["fid_infinity"]
    assert (entry["sizes"][0], entry["sizes"][-1], entry["range"]) == (5000, 10_000, [5000, 10_000])
    assert len(entry["distances"]) == 15
    assert entry["r2"] == values["fid_infinity_r2"]
    assert "Chong and Forsyth" in entry["formula"]
    assert values["fid_infinity"] == pytest.approx(values["fid"], rel=0.2)
    low, high = values["fid_infinity_ci95_low"], values["fid_infinity_ci95_high"]
    assert low < values["fid_infinity"] < high
    assert entry["distances"][-1] == pytest.approx(values["fid"], rel=1e-9)

    few = _measure(_statistics(0, 9999), settings, train=train)
    assert _plain(few) == {"fid"}
    assert "10,000 images or more" in few.protocols["fid"]["fid_infinity"]


def test_unlabelled_images_have_no_metrics_by_class() -> None:
    generated = dataclasses.replace(_statistics(0, 300), labels=None)
    keys = _plain(_measure(generated, heldout=_statistics(2, 120)))
    assert {"fid", "is_mean", "precision", "baseline_intra_fid"} <= keys
    assert not {"intra_fid", "matched_intra_fid", "accuracy"} & keys
    no_classes = _measure(
        generated, train=dataclasses.replace(_statistics(1, 400), labels=None), class_names=None
    )
    assert "fid" in no_classes.values


def test_extractors_without_logits_have_no_inception_score() -> None:
    sides = [
        dataclasses.replace(_statistics(seed, 300), logits=np.empty((300, 0), np.float32))
        for seed in (0, 1)
    ]
    keys = _plain(_measure(sides[0], train=sides[1]))
    assert {"fid", "kid_mean", "coverage", "intra_fid"} <= keys
    assert not [key for key in keys if "is_" in key]


def test_classes_stand_by_their_names() -> None:
    generated, train = _statistics(0, 300), _statistics(1, 90)
    results = _measure(generated, train=train, extractor="dataset-cnn")
    protocols = results.protocols
    entry = protocols["intra_fid_dataset_cnn"]
    assert (entry["images_per_class"], entry["real_per_class"]) == (30, 30)  # match
    expected = {}
    for label, name in enumerate(NAMES):
        ours = generated.features[generated.labels == label][:30]
        expected[name] = fid_of_moments(
            Moments.of(ours), Moments.of(train.features[train.labels == label])
        )
    assert entry["by_class"] == pytest.approx(expected, rel=1e-6)
    mean = sum(expected.values()) / 3
    assert results.values["intra_fid_dataset_cnn"] == pytest.approx(mean, rel=1e-6)
    assert "by_class" not in protocols["intra_fid_dataset_cnn_ci95_low"]
    shares = protocols["accuracy_dataset_cnn"]["by_class"]
    assert list(shares) == list(NAMES)
    assert min(shares.values()) == results.values["accuracy_min_class_dataset_cnn"]
    assert np.mean(list(shares.values())) == pytest.approx(results.values["accuracy_dataset_cnn"])
    assert "shortfall" not in entry
    entry = _measure(_statistics(0, 60), train=train).protocols["intra_fid"]
    assert entry["images_per_class"] == 20
    assert "shortfall" in entry


def test_miyato5k_draws_each_class_for_itself(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "MIYATO_PER_CLASS", 40)
    executor = ParallelExecutor.on("cpu")
    sources: Any = None  # dataset-cnn lies in the reference itself
    extractors, references = open_references(
        prepared.reference, prepared.manifest, ["dataset-cnn"], sources, "cpu", executor
    )
    G = load_generator(prepared.model / "generator.safetensors", "cpu")
    settings = SETTINGS.model_copy(update={"intra_fid": "miyato5k"})
    (found,) = evaluate.draw_by_class(G, extractors, references, settings, executor)
    assert found is not None
    assert found.num_generated == (40, 40, 40)
    assert np.isfinite(found.distances).all()

    one = evaluate.class_draw(0, 1, 40, G.z_dim)
    assert one.y.tolist() == [1] * 40
    assert not (one.z == evaluate.class_draw(0, 2, 40, G.z_dim).z).any()
    assert not (one.z == draw(0, 40, G.z_dim, 3).z).any()
    assert evaluate.draw_by_class(G, extractors, references, SETTINGS, executor) == [None]


def test_as_many_generated_as_heldout_images_need_no_match() -> None:
    keys = _plain(_measure(_statistics(0, 120), heldout=_statistics(2, 200)))
    assert "baseline_fid" in keys
    assert not [key for key in keys if key.startswith("matched")]


def test_the_baseline_takes_no_more_images_than_are_generated(prepared: Prepared) -> None:
    reference = read_reference(prepared.reference / "dataset-cnn", prepared.manifest)
    assert reference.heldout is not None
    count = len(reference.heldout.features)
    assert reference.with_baseline(count + 5).heldout is reference.heldout
    few = reference.with_baseline(7).heldout
    assert few is not None
    assert few.moments.count == len(few.features) == 7
    known = {row.tobytes() for row in reference.heldout.features}
    assert len({row.tobytes() for row in few.features} & known) == 7


@pytest.mark.parametrize(
    ("num_real", "num_samples", "is_splits", "expected"),
    [(1426, 5000, 10, 3), (50_000, 5000, 10, 10), (100, 5000, 10, 1), (5, 10, 100, 5)],
)
def test_real_splits_are_near_the_size_of_the_generated_ones(
    num_real: int, num_samples: int, is_splits: int, expected: int
) -> None:
    settings = SETTINGS.model_copy(update={"num_samples": num_samples, "is_splits": is_splits})
    assert real_splits(num_real, settings) == expected
