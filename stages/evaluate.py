"""Scores the exported model against the real data's side, each number with its protocol.

With --snapshots PATH it scores several snapshots of a run, with --images PATH anybody's images.
"""

import argparse
import sys
from pathlib import Path

from pipeline.config.params import load_params
from pipeline.config.schema import EvaluateSection
from pipeline.core.errors import UserError
from pipeline.distributed.launch import launch
from pipeline.evaluation.evaluate import EvaluationFiles
from pipeline.jobs.evaluate import EvaluatePaths, evaluate_in_group
from pipeline.jobs.series import SeriesPaths, score_series_in_group
from stages.entry import run_stage, stage_parser
from stages.score_images import add_image_options, score_images

_PATHS = {  # as in dvc.yaml
    "model": "data/model",
    "reference": "data/reference",
    "shards": "data/shards",
    "metrics": "reports/metrics.json",
    "protocol": "reports/protocol.json",
    "samples": "reports/samples",
    "series": "reports/series.json",
}


def main() -> None:
    parser = stage_parser("evaluate", __doc__, EvaluateSection)
    parser.add_argument("--model", type=Path, help="folder of the exported model")
    parser.add_argument("--reference", type=Path, help="folder of the real side")
    parser.add_argument("--shards", type=Path, help="folder of the shards")
    parser.add_argument("--metrics", type=Path, help="JSON file for the numbers")
    parser.add_argument("--protocol", type=Path, help="JSON file for how they came")
    parser.add_argument("--samples", type=Path, help="folder for the pictures")
    group = parser.add_argument_group(
        "several snapshots",
        "FID over nimg on evaluate.selection_seed; the best is then reported on evaluate.seed.\n"
        "What the file holds already is not scored again.",
    )
    group.add_argument(
        "--snapshots",
        metavar="PATH",
        help="a snapshot, a folder of them (runs/<key>/snapshots), or `all` of the model's run",
    )
    group.add_argument(
        "--series", type=Path, metavar="FILE", help="JSON file for them, a CSV beside it"
    )
    add_image_options(parser)
    arguments = parser.parse_args()
    if arguments.images is not None:
        score_images(arguments)
        return
    _refuse_options_of_others(arguments)
    path = {name: getattr(arguments, name) or Path(usual) for name, usual in _PATHS.items()}
    if arguments.snapshots is not None:
        series = SeriesPaths(
            snapshots=arguments.snapshots,
            model=path["model"],
            reference=path["reference"],
            shards=path["shards"],
            out=path["series"],
            as_json=arguments.json,
        )
        launch(score_series_in_group, load_params(), series, "stages.evaluate", sys.argv[1:])
        return
    paths = EvaluatePaths(
        model=path["model"],
        reference=path["reference"],
        shards=path["shards"],
        files=EvaluationFiles(
            metrics=path["metrics"], protocol=path["protocol"], samples=path["samples"]
        ),
        as_json=arguments.json,
    )
    launch(evaluate_in_group, load_params(), paths, "stages.evaluate", sys.argv[1:])


def _refuse_options_of_others(arguments: argparse.Namespace) -> None:
    for name in ("against", "extractor", "resize"):
        if getattr(arguments, name) is not None:
            raise UserError(f"--{name} is for --images PATH; give that too, or leave it out")
    if arguments.snapshots is None and arguments.series is not None:
        raise UserError("--series is for --snapshots PATH; give that too, or leave it out")
    for name in ("metrics", "protocol", "samples"):
        if arguments.snapshots is not None and getattr(arguments, name) is not None:
            raise UserError(f"--snapshots writes --series, not --{name}; leave that out")


if __name__ == "__main__":
    run_stage(main)
