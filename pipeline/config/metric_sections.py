"""The sections of `params.yaml` that say what is measured, and how."""

from typing import Annotated, Literal, get_args

from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from pipeline.config.extractors import check_extractors, check_weights
from pipeline.config.section import Section

MetricFamily = Literal[
    "fid", "is", "kid", "prc", "prdc", "intra-fid", "fid-infinity", "memorisation", "accuracy"
]


def _known_extractors(extractors: list[str]) -> list[str]:
    try:
        check_extractors(extractors)
    except ValueError as error:
        raise ValueError(f"`reference.extractors`: {error}") from None
    return extractors


def _fitting_weights(weights: dict[str, str]) -> dict[str, str]:
    try:
        check_weights(weights)
    except ValueError as error:
        raise ValueError(f"`reference.extractor_weights`: {error}") from None
    return weights


def _read_number_kept(value: object, read: ValidatorFunctionWrapHandler) -> object:
    try:
        return read(value)
    except ValidationError:
        raise ValueError(
            f"reference.keep_features = {value!r} is not valid: it is a number of images, 10 or "
            "more, or `all`"
        ) from None


def _check_replicates(replicates: int) -> int:
    if replicates == 1:
        raise ValueError("`evaluate.bootstrap` is 1; a deviation takes 2 or more, or 0 for none")
    return replicates


class ReferenceSection(Section):
    """The real data's side of the metrics; read by `reference`."""

    extractors: Annotated[list[str], AfterValidator(_known_extractors)] = Field(
        ["dataset-cnn"],
        min_length=1,
        description="feature extractors, scored by each: names (README lists them), with -bf16 "
        "after them for that precision, and one's own .pt, .pth, .ts or .onnx files",
    )
    inception_weights: str | None = Field(
        None,
        description="torch-fidelity's Inception weights: a file, s3://bucket/key, or `download`",
    )
    extractor_weights: Annotated[dict[str, str], AfterValidator(_fitting_weights)] = Field(
        {},
        description="the same for other extractors, by their names; where one is missing: "
        "`download`",
    )
    cnn_epochs: int = Field(10, ge=1, description="passes of dataset-cnn over the training split")
    seed: int = Field(0, ge=0, description="seed of dataset-cnn's training")
    keep_features: Annotated[
        Annotated[int, Field(ge=10)] | Literal["all"], WrapValidator(_read_number_kept)
    ] = Field(
        50_000, description="images of each split whose features are kept, evenly chosen; or all"
    )


class EvaluateSection(Section):
    """The protocol of the metrics; read by `evaluate`."""

    num_samples: int = Field(5000, ge=10, description="generated images for each metric")
    seed: int = Field(1000, ge=0, description="seed of the samples' latents and labels")
    selection_seed: int = Field(
        3000, ge=0, description="the same where the best of several snapshots is looked for"
    )
    selection_samples: int | None = Field(
        None, ge=10, description="generated images of each of them; null: num_samples"
    )
    is_splits: int = Field(10, ge=1, description="splits of the inception score")
    kid_subsets: int = Field(100, ge=1, description="subsets of KID")
    kid_subset_size: int = Field(300, ge=2, description="images in each subset of KID")
    metrics: list[MetricFamily] = Field(
        list(get_args(MetricFamily)),
        min_length=1,
        description="what to measure: fid, is, kid, prc (precision and recall), prdc (density and "
        "coverage), intra-fid, fid-infinity (from 10,000 samples on), memorisation, accuracy",
    )
    intra_fid: Literal["match", "miyato5k"] = Field(
        "match",
        description="generated images of each class: as many as there are real ones, of the "
        "samples at hand, or 5,000 drawn for it",
    )
    bootstrap: Annotated[int, AfterValidator(_check_replicates)] = Field(
        20, ge=0, description="replicates behind each 95 % interval; 0: no intervals"
    )
