"""The metric that a study compares trials by, and how it is measured."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from pipeline.config.extractors import extractor_name
from pipeline.config.params import Params
from pipeline.data.shards.manifest import Manifest
from pipeline.evaluation.extractors.extractor import metric_key
from pipeline.evaluation.small_protocol import NUM_SAMPLES, SEED, STEM

# Prefixes of the metrics that training computes every `train.eval_kimg`; `fd` of other networks.
_EVALUATED = (STEM, STEM.replace("fid", "fd"))


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """How the study metric was measured; `measured` in `study.json`."""

    name: str
    """Of the data set."""
    kind: str
    """Of `data.source`, or of the folder's origin: digits, cifar10, ..."""
    resolution: int
    """Side of the images, pixels."""
    num_classes: int
    num_train: int
    """Images of the training split."""
    protocol: Mapping[str, Any] = field(default_factory=dict)
    """As an entry of protocol.json; empty for a metric that is computed without images."""

    def to_json(self) -> dict[str, Any]:
        """What `of_json` reads."""
        return asdict(self)

    @classmethod
    def of_json(cls, content: Mapping[str, Any] | None) -> Self | None:
        """None for a study without one."""
        return None if not content else cls(**content)


def default_metric(params: Params) -> str:
    """FID over 2,000 images under the first configured extractor."""
    return metric_key(STEM, extractor_name(params.reference.extractors[0]), official=True)


def needs_images(metric: str) -> bool:
    """Whether the metric is one of generated images, and not of the training steps."""
    return metric.startswith(_EVALUATED)


def evaluated_metrics(extractors: list[str]) -> dict[str, tuple[str, bool]]:
    """(extractor, official weights) of each metric that training can compute, by metric key.

    A key that both kinds of weights share counts as the official one's.
    """
    metrics: dict[str, tuple[str, bool]] = {}
    for name in map(extractor_name, extractors):
        for official in (True, False):
            metrics.setdefault(metric_key(STEM, name, official), (name, official))
    return metrics


def measurement(metric: str, extractors: list[str], manifest: Manifest) -> Measurement:
    """How `metric` is measured on a data set under `reference.extractors`."""
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
