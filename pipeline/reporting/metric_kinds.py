"""The metrics of the report: meaning, direction and reference value of each."""

from dataclasses import dataclass
from typing import Literal

OFFICIAL = ""  # the suffix of the published Inception weights is none
EXTRACTORS = {
    OFFICIAL: "Inception-v3 (published weights)",
    "_inception_v3_unofficial": "Inception-v3 (other weights)",
    "_dataset_cnn": "dataset-cnn",
}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A metric, independent of the feature extractor."""

    stem: str
    title: str
    better: Literal["lower", "higher", "near 1"]
    reference: str
    """Key, without the extractor's suffix, of the reference value."""
    reference_name: str
    meaning: str
    is_share: bool = False


KINDS = (
    Kind(
        stem="fid",
        title="FID",
        better="lower",
        reference="baseline_fid",
        reference_name="baseline",
        meaning="Frechet distance between the features of generated and real training images.",
    ),
    Kind(
        stem="matched_fid",
        title="FID, matched",
        better="lower",
        reference="baseline_fid",
        reference_name="baseline",
        meaning="The same with as many generated images as the held-out baseline has: FID falls "
        "with the number of images, so that only equal numbers compare.",
    ),
    Kind(
        stem="fid_infinity",
        title="FID at infinity",
        better="lower",
        reference="baseline_fid_infinity",
        reference_name="baseline",
        meaning="FID extrapolated to infinitely many generated images, from 5,000 on.",
    ),
    Kind(
        stem="intra_fid",
        title="Intra FID",
        better="lower",
        reference="baseline_intra_fid",
        reference_name="baseline",
        meaning="Mean over the classes of the FID within each.",
    ),
    Kind(
        stem="matched_intra_fid",
        title="Intra FID, matched",
        better="lower",
        reference="baseline_intra_fid",
        reference_name="baseline",
        meaning="The same with as many generated images of each class as the baseline has.",
    ),
    Kind(
        stem="kid_mean",
        title="KID",
        better="lower",
        reference="baseline_kid_mean",
        reference_name="baseline",
        meaning="Kernel distance between the same features; unbiased, so it can be below zero.",
    ),
    Kind(
        stem="is_mean",
        title="Inception score",
        better="higher",
        reference="real_is_mean",
        reference_name="real images",
        meaning="High when each image is surely of one class and all classes occur; "
        "independent of the diversity within a class.",
    ),
    Kind(
        stem="accuracy",
        title="Class accuracy",
        better="higher",
        reference="heldout_accuracy",
        reference_name="real held-out images",
        meaning="Share of generated images that the extractor's classifier, trained on real ones "
        "alone, assigns to the requested class.",
        is_share=True,
    ),
    Kind(
        stem="accuracy_min_class",
        title="Class accuracy, worst class",
        better="higher",
        reference="",
        reference_name="",
        meaning="The same share in the class where it is lowest.",
        is_share=True,
    ),
    Kind(
        stem="precision",
        title="Precision",
        better="higher",
        reference="baseline_precision",
        reference_name="real held-out images",
        meaning="Share of generated images that lie among the real ones.",
        is_share=True,
    ),
    Kind(
        stem="recall",
        title="Recall",
        better="higher",
        reference="baseline_recall",
        reference_name="real held-out images",
        meaning="Share of real images that lie among the generated ones.",
        is_share=True,
    ),
    Kind(
        stem="matched_recall",
        title="Recall, matched",
        better="higher",
        reference="baseline_recall",
        reference_name="real held-out images",
        meaning="The same with as many generated images as there are held-out ones, since recall "
        "depends on their number.",
        is_share=True,
    ),
    Kind(
        stem="density",
        title="Density",
        better="higher",
        reference="baseline_density",
        reference_name="real held-out images",
        meaning="How many real images' neighbourhoods contain a generated one, over the "
        "usual number: about 1 for real images, more where only the commonest are made.",
    ),
    Kind(
        stem="coverage",
        title="Coverage",
        better="higher",
        reference="baseline_coverage",
        reference_name="real held-out images",
        meaning="Share of real images whose neighbourhood contains a generated one.",
        is_share=True,
    ),
    Kind(
        stem="matched_coverage",
        title="Coverage, matched",
        better="higher",
        reference="baseline_coverage",
        reference_name="real held-out images",
        meaning="The same with as many generated images as there are held-out ones: more images "
        "cover more.",
        is_share=True,
    ),
    Kind(
        stem="memorisation_ratio",
        title="Distance to the training images",
        better="near 1",
        reference="baseline_memorisation_ratio",
        reference_name="half of the held-out images",
        meaning="Median distance to the nearest training image, over that of real held-out images: "
        "well below 1 the model repeats what it was trained on.",
    ),
    Kind(
        stem="memorised_share",
        title="Suspiciously near training images",
        better="lower",
        reference="baseline_memorised_share",
        reference_name="half of the held-out images",
        meaning="Share of generated images nearer to a training image than all but 5 % of the real "
        "held-out ones; about 5 % is harmless.",
        is_share=True,
    ),
)
DIVERSITY = Kind(
    stem="within_class_std_ratio",
    title="Within-class standard deviation",
    better="near 1",
    reference="",
    reference_name="real images",
    meaning="Standard deviation of the 8x8-averaged pixels within a class, over that of real "
    "images; near 0 all images of a class are the same.",
)
