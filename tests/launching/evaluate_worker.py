"""One process that prepares a real side and scores a model: ROOT, OUT and THREADS.

ROOT holds `shards` and `model`; the real side, the metrics and what was said go to OUT.
"""

import sys
from pathlib import Path

import torch

from pipeline.data.reader import open_dataset
from pipeline.evaluation.crew import Crew
from pipeline.evaluation.evaluate import EvaluationFiles, evaluate_model
from pipeline.evaluation.extractors.weight_sources import WeightSources
from pipeline.evaluation.reference import make_references
from pipeline.launching.group import process_group
from stages.entry import run_stage
from tests.evaluation.evaluation_run import SETTINGS


def main() -> None:
    root, out, num_threads = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    with process_group("cpu", 120) as processes:
        torch.set_num_threads(num_threads)
        prepare_and_score(root, out, Crew.on("cpu", processes))


def prepare_and_score(root: Path, out: Path, crew: Crew) -> None:
    """What each process of the crew does."""
    dataset = open_dataset(root / "shards")
    make_references(
        dataset,
        out / "reference",
        extractors=["dataset-cnn"],
        sources=WeightSources(),
        cnn_epochs=1,
        seed=0,
        device="cpu",
        keep_features=40,
        crew=crew,
    )
    evaluate_model(
        root / "model",
        out / "reference",
        dataset.manifest,
        EvaluationFiles(
            metrics=out / "metrics.json", protocol=out / "protocol.json", samples=out / "samples"
        ),
        extractors=["dataset-cnn"],
        sources=WeightSources(),
        settings=SETTINGS,
        device="cpu",
        crew=crew,
    )


if __name__ == "__main__":
    run_stage(main)
