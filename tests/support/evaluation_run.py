"""Runs an evaluation that is small enough for a test."""

import json
from pathlib import Path
from typing import Any

from pipeline.config.schema import EvaluateSection
from pipeline.evaluation.evaluate import EvaluationFiles, evaluate_model
from pipeline.evaluation.extractors.weights import WeightSources
from tests.support.evaluated_models import Prepared

SETTINGS = EvaluateSection(
    num_samples=125, seed=3, is_splits=5, kid_subsets=10, kid_subset_size=300
)


def evaluate(
    prepared: Prepared, out: Path, settings: EvaluateSection = SETTINGS, **changes: Any
) -> dict[str, float]:
    """Evaluates what is prepared; `changes` are other arguments for `evaluate_model`."""
    arguments: dict[str, Any] = {
        "model_dir": prepared.model,
        "reference_dir": prepared.reference,
        "manifest": prepared.manifest,
        "extractors": ["dataset-cnn"],
        "sources": WeightSources(),
        "device": "cpu",
        **changes,
    }
    files = EvaluationFiles(
        metrics=out / "metrics.json", protocol=out / "protocol.json", samples=out / "samples"
    )
    return evaluate_model(files=files, settings=settings, **arguments)


def read_outs(out: Path) -> tuple[dict[str, float], dict[str, dict[str, Any]]]:
    """Metrics and protocol."""
    metrics, protocol = ((out / f"{name}.json").read_text() for name in ("metrics", "protocol"))
    return json.loads(metrics), json.loads(protocol)
