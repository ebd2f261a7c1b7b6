"""Scores the exported model against the real data's side, each number with its protocol."""

from pathlib import Path

from pipeline.config.params import load_params
from pipeline.config.sections import EvaluateSection
from pipeline.data.manifest import read_manifest
from pipeline.evaluation.evaluate import EvaluationFiles, evaluate_model
from pipeline.evaluation.extractors.weight_sources import weight_sources
from pipeline.evaluation.sample_files import GRID_FILE
from pipeline.evaluation.settings import EvaluateSettings
from pipeline.tracking.connection import resolve_uri
from pipeline.tracking.finished_run import open_run
from pipeline.training.allocator import keep_freed_memory
from pipeline.training.devices import choose_device
from stages.entry import run_stage, stage_parser


def main() -> None:
    parser = stage_parser("evaluate", __doc__, EvaluateSection)
    parser.add_argument("--model", type=Path, required=True, help="folder of the exported model")
    parser.add_argument("--reference", type=Path, required=True, help="folder of the real side")
    parser.add_argument("--shards", type=Path, required=True, help="folder of the shards")
    parser.add_argument("--metrics", type=Path, required=True, help="JSON file for the numbers")
    parser.add_argument("--protocol", type=Path, required=True, help="JSON file for how they came")
    parser.add_argument("--samples", type=Path, required=True, help="folder for the pictures")
    arguments = parser.parse_args()

    params = load_params()
    keep_freed_memory()
    runtime = params.runtime
    if runtime.tracker == "mlflow":
        resolve_uri(runtime.tracking_uri)  # a mistyped address is told before the work
    files = EvaluationFiles(
        metrics=arguments.metrics, protocol=arguments.protocol, samples=arguments.samples
    )
    metrics = evaluate_model(
        arguments.model,
        arguments.reference,
        read_manifest(arguments.shards),
        files,
        extractors=params.reference.extractors,
        sources=weight_sources(
            params.reference.inception_weights,
            params.reference.extractor_weights,
            params.runtime.cache_dir,
        ),
        settings=EvaluateSettings(**params.evaluate.model_dump()),
        device=choose_device(runtime.device, runtime.num_threads),
    )
    for key, value in metrics.items():
        print(f"{key:<40} {value:.4f}")
    run = open_run(
        arguments.model,
        tracker=runtime.tracker,
        uri=runtime.tracking_uri,
        experiment=runtime.experiment,
        runs_dir=Path(runtime.runs_dir),
    )
    run.log_evaluation(
        metrics, files=[files.protocol], images={"class_grid": files.samples / GRID_FILE}
    )


if __name__ == "__main__":
    run_stage(main)
