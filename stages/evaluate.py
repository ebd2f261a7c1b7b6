"""Scores the exported model against the real data's side, each number with its protocol.

With --images PATH in the place of --model it scores anybody's images.
"""

import argparse
import sys
from pathlib import Path

from pipeline.config.params import load_params
from pipeline.config.sections import EvaluateSection
from pipeline.errors import UserError
from pipeline.evaluation.evaluate import EvaluationFiles
from pipeline.launching.evaluation_worker import EvaluatePaths, evaluate_in_group
from pipeline.launching.launch import launch
from stages.entry import run_stage, stage_parser
from stages.score_images import add_image_options, score_images

_PATHS = {  # of dvc.yaml
    "model": "data/model",
    "reference": "data/reference",
    "shards": "data/shards",
    "metrics": "reports/metrics.json",
    "protocol": "reports/protocol.json",
    "samples": "reports/samples",
}


def main() -> None:
    parser = stage_parser("evaluate", __doc__, EvaluateSection)
    parser.add_argument("--model", type=Path, help="folder of the exported model")
    parser.add_argument("--reference", type=Path, help="folder of the real side")
    parser.add_argument("--shards", type=Path, help="folder of the shards")
    parser.add_argument("--metrics", type=Path, help="JSON file for the numbers")
    parser.add_argument("--protocol", type=Path, help="JSON file for how they came")
    parser.add_argument("--samples", type=Path, help="folder for the pictures")
    add_image_options(parser)
    arguments = parser.parse_args()
    if arguments.images is not None:
        score_images(arguments)
        return
    _refuse_image_options(arguments)
    path = {name: getattr(arguments, name) or Path(usual) for name, usual in _PATHS.items()}
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


def _refuse_image_options(arguments: argparse.Namespace) -> None:
    for name in ("against", "extractor", "resize"):
        if getattr(arguments, name) is not None:
            raise UserError(f"--{name} is for --images PATH; give that too, or leave it out")


if __name__ == "__main__":
    run_stage(main)
