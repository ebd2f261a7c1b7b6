"""The mode of `evaluate` that scores images which no model of this project made."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.config.extractors import check_extractors
from pipeline.config.params import Params, load_params
from pipeline.core.errors import UserError
from pipeline.distributed.devices import choose_device
from pipeline.evaluation.external.open_origin import LAYOUTS
from pipeline.evaluation.external.score import (
    Scored,
    Scorer,
    score_against_dataset,
    score_against_images,
)
from pipeline.evaluation.extractors.weight_sources import DOWNLOAD, weight_sources
from pipeline.evaluation.measurements import lines

_PARAMS = Path("params.yaml")
_SHARDS = Path("data/shards")
_REFERENCE = Path("data/reference")
_OF_A_MODEL = ("model", "samples", "snapshots", "series")


def add_image_options(parser: argparse.ArgumentParser) -> None:
    """The options of this mode; `--reference`, `--shards`, ... are shared with the others."""
    group = parser.add_argument_group(
        "images of any origin",
        "Scored as a model's are, each number with its protocol; params.yaml may be missing.\n\n"
        + LAYOUTS,
    )
    group.add_argument("--images", metavar="PATH", help="images to score instead of a model's")
    group.add_argument(
        "--against", metavar="PATH", help="images in the place of the data set's real ones"
    )
    group.add_argument(
        "--extractor",
        metavar="NAME",
        action="append",
        help="in the place of reference.extractors; may be given several times",
    )
    group.add_argument(
        "--resize",
        metavar="N",
        type=int,
        help="take the middle square of each image and resize it to NxN, as the ingest does",
    )
    group.add_argument("--json", action="store_true", help="print one JSON object")


def score_images(arguments: argparse.Namespace) -> None:
    """Prints the metrics; writes `--metrics` and `--protocol` where they are given, else nothing.

    Raises UserError for options that make no sense together and for images that do not compare.
    """
    for name in ("images", "against"):
        if getattr(arguments, name) == "":
            raise UserError(f"--{name} is empty; name a folder or a file of images")
    for name in _OF_A_MODEL:
        if getattr(arguments, name) is not None:
            raise UserError(f"--images and --{name} exclude each other; leave one out")
    if (arguments.metrics is None) != (arguments.protocol is None):
        raise UserError("--metrics and --protocol belong together; give both or neither")
    if arguments.against is not None and arguments.shards is not None:
        raise UserError("--against and --shards exclude each other; leave one out")
    if arguments.resize is not None and arguments.resize < 1:
        raise UserError(f"--resize {arguments.resize} is no size; give pixels, such as 128")
    params = load_params() if _PARAMS.exists() else Params()
    extractors = arguments.extractor or params.reference.extractors
    try:
        check_extractors(extractors)
    except ValueError as error:
        raise UserError(f"--extractor: {error}") from None
    with TemporaryDirectory(prefix="sagan-images-") as scratch:
        scored = _score(arguments, params, extractors, Path(scratch))
    if arguments.metrics is not None:
        scored.measurements.write(arguments.metrics, arguments.protocol)
    _tell(scored, arguments.json)


def _score(
    arguments: argparse.Namespace, params: Params, extractors: Sequence[str], scratch: Path
) -> Scored:
    weights = params.reference
    if weights.inception_weights is None and arguments.extractor is not None:
        weights = weights.model_copy(update={"inception_weights": DOWNLOAD})
    scorer = Scorer(
        extractors=extractors,
        reference=arguments.reference or _REFERENCE,
        sources=weight_sources(weights, params.runtime.cache_dir),
        settings=params.evaluate,
        resize=arguments.resize,
        scratch=scratch,
        device=choose_device(params.runtime.device, params.runtime.num_threads),
    )
    if arguments.against is not None:
        return score_against_images(arguments.images, arguments.against, scorer)
    return score_against_dataset(arguments.images, arguments.shards or _SHARDS, scorer)


def _tell(scored: Scored, as_json: bool) -> None:
    for rejected in scored.rejected:
        print(f"passed over: {rejected.key} ({rejected.reason})", file=sys.stderr)
    for note in scored.notes:
        print(note, file=sys.stderr)
    metrics, protocol = scored.measurements.values, scored.measurements.protocols
    if as_json:
        print(json.dumps({"metrics": metrics, "protocol": protocol}))
        return
    print(*lines(metrics), sep="\n")
    images = next(iter(protocol.values()))["images"]
    print(f"{images['count']} images, {images['size']} {images['mode']}, {images['digest'][:12]}")
