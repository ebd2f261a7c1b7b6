"""Evaluates the exported model against the real images, each metric with its protocol.

With --snapshots PATH it scores several snapshots of a run, with --images PATH any images.
"""

import argparse
import sys
from pathlib import Path

from pipeline.config.params import Params, load_params
from pipeline.config.schema import EvaluateSection
from pipeline.core.errors import UserError
from pipeline.data.sources.external import LAYOUTS
from pipeline.distributed.launch import launch
from pipeline.evaluation.evaluate import EvaluationFiles
from pipeline.jobs.evaluate import (
    ModelPaths,
    SeriesPaths,
    evaluate_images,
    evaluate_in_group,
    score_series_in_group,
)
from stages.entry import run_stage, stage_parser

_PATHS = {  # as in dvc.yaml
    "model": "data/model",
    "reference": "data/reference",
    "shards": "data/shards",
    "metrics": "reports/metrics.json",
    "protocol": "reports/protocol.json",
    "samples": "reports/samples",
    "series": "reports/series.json",
}
_PARAMS = Path("params.yaml")


def main() -> None:
    arguments = _parser().parse_args()
    path = {name: getattr(arguments, name) or Path(usual) for name, usual in _PATHS.items()}
    inputs = {name: path[name] for name in ("model", "reference", "shards")}
    if arguments.images is not None:
        _check_image_options(arguments)
        evaluate_images(
            load_params() if _PARAMS.exists() else Params(),
            arguments.images,
            against=arguments.against,
            shards=path["shards"],
            reference=path["reference"],
            extractors=arguments.extractor,
            resize=arguments.resize,
            outputs=(arguments.metrics, arguments.protocol) if arguments.metrics else None,
            as_json=arguments.json,
        )
        return
    _check_options(arguments)
    if arguments.snapshots is not None:
        series = SeriesPaths(
            **inputs, snapshots=arguments.snapshots, out=path["series"], as_json=arguments.json
        )
        launch(score_series_in_group, load_params(), series, "stages.evaluate", sys.argv[1:])
        return
    files = EvaluationFiles(
        metrics=path["metrics"], protocol=path["protocol"], samples=path["samples"]
    )
    model = ModelPaths(**inputs, files=files, as_json=arguments.json)
    launch(evaluate_in_group, load_params(), model, "stages.evaluate", sys.argv[1:])


def _parser() -> argparse.ArgumentParser:
    parser = stage_parser("evaluate", __doc__, EvaluateSection)
    parser.add_argument("--model", type=Path, help="folder of the exported model")
    parser.add_argument("--reference", type=Path, help="folder of the reference statistics")
    parser.add_argument("--shards", type=Path, help="folder of the shards")
    parser.add_argument("--metrics", type=Path, help="JSON file for the metrics")
    parser.add_argument("--protocol", type=Path, help="JSON file for the protocol of each")
    parser.add_argument("--samples", type=Path, help="folder for the pictures")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    group = parser.add_argument_group(
        "several snapshots",
        "FID over nimg on evaluate.selection_seed; the best is then reported on evaluate.seed.\n"
        "Snapshots that the file holds already are not scored again.",
    )
    group.add_argument(
        "--snapshots",
        metavar="PATH",
        help="a snapshot, a folder of them (runs/<key>/snapshots), or `all` of the model's run",
    )
    group.add_argument(
        "--series", type=Path, metavar="FILE", help="JSON file for them, a CSV beside it"
    )
    group = parser.add_argument_group(
        "external images",
        "Scored as a model's are, each metric with its protocol; params.yaml may be missing.\n\n"
        f"{LAYOUTS}\n- this project's shards: their training images",
    )
    group.add_argument("--images", metavar="PATH", help="images to score instead of a model's")
    group.add_argument(
        "--against", metavar="PATH", help="images to use instead of the data set's real ones"
    )
    group.add_argument(
        "--extractor",
        metavar="NAME",
        action="append",
        help="use instead of reference.extractors; may be given several times",
    )
    group.add_argument(
        "--resize",
        metavar="N",
        type=int,
        help="take the middle square of each image and resize it to NxN, as the ingest does",
    )
    return parser


def _check_options(arguments: argparse.Namespace) -> None:
    for name in ("against", "extractor", "resize"):
        if getattr(arguments, name) is not None:
            raise UserError(f"--{name} is for --images PATH; give that too, or leave it out")
    if arguments.snapshots is None and arguments.series is not None:
        raise UserError("--series is for --snapshots PATH; give that too, or leave it out")
    for name in ("metrics", "protocol", "samples"):
        if arguments.snapshots is not None and getattr(arguments, name) is not None:
            raise UserError(f"--snapshots writes --series, not --{name}; leave that out")


def _check_image_options(arguments: argparse.Namespace) -> None:
    for name in ("images", "against"):
        if getattr(arguments, name) == "":
            raise UserError(f"--{name} is empty; name a folder or a file of images")
    for name in ("model", "samples", "snapshots", "series"):
        if getattr(arguments, name) is not None:
            raise UserError(f"--images and --{name} exclude each other; leave one out")
    if (arguments.metrics is None) != (arguments.protocol is None):
        raise UserError("--metrics and --protocol belong together; give both or neither")
    if arguments.against is not None and arguments.shards is not None:
        raise UserError("--against and --shards exclude each other; leave one out")
    if arguments.resize is not None and arguments.resize < 1:
        raise UserError(f"--resize {arguments.resize} is no size; give pixels, such as 128")


if __name__ == "__main__":
    run_stage(main)
