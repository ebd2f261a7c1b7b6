"""Computes the reference statistics of every metric, and trains the data set's own classifier.

What was computed before for these images, extractors and settings is taken from the cache.
"""

import sys
from pathlib import Path

from pipeline.config.params import load_params
from pipeline.config.schema import ReferenceSection
from pipeline.distributed.launch import launch
from pipeline.jobs.reference import ReferencePaths, make_references_in_group
from stages.entry import run_stage, stage_parser


def main() -> None:
    parser = stage_parser("reference", __doc__, ReferenceSection)
    parser.add_argument(
        "--shards", required=True, help="the shards: a folder or s3://bucket/prefix"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the reference statistics"
    )
    arguments = parser.parse_args()
    paths = ReferencePaths(shards=arguments.shards, out=arguments.out)
    launch(make_references_in_group, load_params(), paths, "stages.reference", sys.argv[1:])


if __name__ == "__main__":
    run_stage(main)
