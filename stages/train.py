"""Trains the networks on the shards and exports the generator.

`dvc repro train` runs this. The same command goes on where an earlier one was stopped.
"""

from pathlib import Path

from pipeline.config.params import load_params
from pipeline.config.sections import ModelSection, RuntimeSection, TrainSection
from pipeline.config.training import describe_system, runtime_settings, train_settings
from pipeline.data.reader import open_dataset
from pipeline.tracking.opening import open_tracker
from pipeline.training.allocator import keep_freed_memory
from pipeline.training.devices import choose_device
from pipeline.training.session import SessionPaths, run_session
from stages.entry import run_stage, stage_parser


def main() -> None:
    parser = stage_parser("train", __doc__, ModelSection, TrainSection, RuntimeSection)
    parser.add_argument("--shards", type=Path, required=True, help="folder of the shards")
    parser.add_argument("--out", type=Path, required=True, help="folder for the exported model")
    parser.add_argument("--restart", action="store_true", help="discard the run and start afresh")
    arguments = parser.parse_args()

    keep_freed_memory()
    params = load_params()
    runtime = params.runtime
    device = choose_device(runtime.device, runtime.num_threads)
    dataset = open_dataset(arguments.shards)
    settings = train_settings(params, dataset.manifest)
    description = describe_system(params, dataset.manifest.resolution)
    run_session(
        settings,
        dataset,
        SessionPaths(runs_dir=Path(runtime.runs_dir), out=arguments.out),
        runtime_settings(params, device),
        lambda run_dir, run_key: open_tracker(
            run_dir,
            run_key,
            settings,
            dataset.manifest,
            description,
            kind=runtime.tracker,
            uri=runtime.tracking_uri,
            experiment=runtime.experiment,
        ),
        arguments.restart,
        description,
    )


if __name__ == "__main__":
    run_stage(main)
