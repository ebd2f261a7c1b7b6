"""What the real side under one extractor is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.evaluation.collector import Collected
from pipeline.evaluation.extractors.extractor import Extractor
from pipeline.evaluation.versions import library_versions


@dataclass(frozen=True, kw_only=True, slots=True)
class ReferenceProtocol:
    """What the real side under one extractor is."""

    extractor: str
    """Its name."""
    weights_sha256: str
    """Of the extractor's weights."""
    official: bool
    """Whether these are the weights that published FIDs are measured with."""
    feature_dim: int
    """Length d of a feature vector."""
    resize: str
    """How images reach the extractor's size."""
    dataset_digest: str
    """Of the shards."""
    dataset_name: str
    """For people."""
    num_classes: int
    """Of the data set."""
    num_train: int
    """Images of the training split: all of them are in the moments."""
    num_kept_train: int
    """Those of them whose features are kept, for KID and IS."""
    num_heldout: int
    """Images of the held-out split."""
    num_kept_heldout: int
    """Those of them whose features are kept, for the baselines of FID and KID."""
    heldout_accuracy: float | None
    """Of a classifier that was trained here; None without one, or without held-out images."""
    training: Mapping[str, Any] | None
    """How such a classifier was trained."""
    versions: Mapping[str, str]
    """Of the libraries."""
    bf16_effect: Mapping[str, Any] | None = None
    """What `measure_bf16_effect` says of an extractor in bfloat16."""

    @property
    def entry(self) -> dict[str, Any]:
        """What it adds to the protocol of each metric."""
        return {} if self.bf16_effect is None else {"bf16_effect": dict(self.bf16_effect)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """The real side under one extractor."""

    protocol: ReferenceProtocol
    train: Collected
    """Moments of the whole training split, and kept features."""
    heldout: Collected | None
    """The same of the held-out split; None where that is empty."""


def describe_reference(
    extractor: Extractor,
    train: Collected,
    heldout: Collected | None,
    *,
    dataset_digest: str,
    dataset_name: str,
    num_classes: int,
    training: Mapping[str, Any] | None = None,
    bf16_effect: Mapping[str, Any] | None = None,
) -> Reference:
    """The real side of images that `extractor` has seen, with the libraries at hand."""
    protocol = ReferenceProtocol(
        extractor=extractor.name,
        weights_sha256=extractor.weights_sha256,
        official=extractor.official,
        feature_dim=extractor.feature_dim,
        resize=extractor.resize,
        dataset_digest=dataset_digest,
        dataset_name=dataset_name,
        num_classes=num_classes,
        num_train=train.moments.count,
        num_kept_train=len(train.features),
        num_heldout=0 if heldout is None else heldout.moments.count,
        num_kept_heldout=0 if heldout is None else len(heldout.features),
        heldout_accuracy=None if training is None else training["heldout_accuracy"],
        training=training,
        versions=library_versions(),
        bf16_effect=bf16_effect,
    )
    return Reference(protocol=protocol, train=train, heldout=heldout)
