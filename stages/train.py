"""Trains the networks on the shards and exports the generator.

`dvc repro train` runs this. The same command continues an interrupted run. Under
torchrun it joins the processes that torchrun starts, on any number of nodes.
"""

import sys
from pathlib import Path

from pipeline.config.params import load_params
from pipeline.config.schema import ModelSection, RuntimeSection, TrainSection
from pipeline.distributed.launch import launch
from pipeline.runs.train import TrainPaths, train_run
from stages.entry import run_stage, stage_parser


def main() -> None:
    parser = stage_parser("train", __doc__, ModelSection, TrainSection, RuntimeSection)
    parser.add_argument(
        "--shards", required=True, help="the shards: a folder or s3://bucket/prefix"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the exported model")
    parser.add_argument(
        "--reference", type=Path, help="folder of the reference statistics, for train.eval_kimg"
    )
    parser.add_argument("--restart", action="store_true", help="discard the run and start afresh")
    arguments = parser.parse_args()
    paths = TrainPaths(
        shards=arguments.shards,
        out=arguments.out,
        restart=arguments.restart,
        reference=arguments.reference,
    )
    launch(train_run, load_params(), paths, "stages.train", sys.argv[1:])


if __name__ == "__main__":
    run_stage(main)
