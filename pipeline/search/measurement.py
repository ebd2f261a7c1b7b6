"""What a study's metric is measured on, for who holds it against published numbers."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from pipeline.config.extractors import extractor_name
from pipeline.data.shards.manifest import Manifest
from pipeline.evaluation.extractors.extractor import metric_key
from pipeline.evaluation.small_protocol import NUM_SAMPLES, SEED, STEM


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Kept as `measured` in `study.json`."""

    name: str
    """Of the data set, for people."""
    kind: str
    """Of `data.source`, or of the folder's origin: digits, cifar10, ..."""
    resolution: int
    """Side of the images, pixels."""
    num_classes: int
    num_train: int
    """Images of the training split."""
    protocol: Mapping[str, Any] = field(default_factory=dict)
    """As an entry of protocol.json; empty for a metric that needs no images."""

    def to_json(self) -> dict[str, Any]:
        """What `of_json` reads."""
        return asdict(self)

    @classmethod
    def of_json(cls, content: Mapping[str, Any] | None) -> Self | None:
        """None where a study does not say it."""
        return None if not content else cls(**content)


def evaluated_metrics(extractors: list[str]) -> dict[str, tuple[str, bool]]:
    """What training may compute under `reference.extractors`: (extractor, official weights).

    By key; where both weights give the same, it stands for the official ones.
    """
    metrics: dict[str, tuple[str, bool]] = {}
    for name in map(extractor_name, extractors):
        for official in (True, False):
            metrics.setdefault(metric_key(STEM, name, official), (name, official))
    return metrics


def measurement(metric: str, extractors: list[str], manifest: Manifest) -> Measurement:
    """How `metric` is measured by studies on a data set, under `reference.extractors`."""
    num_train = manifest.splits["train"].rows
    protocol: dict[str, Any] = {}
    if metric in (known := evaluated_metrics(extractors)):
        name, official = known[metric]
        protocol = {
            "extractor": name,
            "weights_official": official,
            "num_generated": NUM_SAMPLES,
            "seed": SEED,
            "weights": "EMA",
            "num_real": num_train,
            "reference_split": "train",
            "dataset_digest": manifest.digest,
        }
    return Measurement(
        name=manifest.name,
        kind=str(manifest.source.get("kind", "")),
        resolution=manifest.resolution,
        num_classes=len(manifest.class_names),
        num_train=num_train,
        protocol=protocol,
    )
