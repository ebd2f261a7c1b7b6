"""The stage as DVC runs it, with evaluations on the way."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.data.shards.reader import open_dataset
from pipeline.evaluation.extractors.weights import WeightSources
from pipeline.evaluation.reference.compute import make_references
from pipeline.tracking.jsonl import read_stats
from tests.support.forks import run_command
from tests.support.subjects import write_stripes
from tests.support.train_project import TRAIN


@pytest.fixture
def project(tmp_path: Path, default_params: dict[str, Any]) -> Path:
    """A folder with shards, params.yaml and a run of three batches."""
    write_stripes(tmp_path / "shards")
    params = copy.deepcopy(default_params)
    params["model"] |= {"g_width": 2, "d_width": 2, "z_dim": 8}
    params["train"] |= {"batch": 16, "total_kimg": 0.032, "eval_kimg": 0.016}
    params["runtime"] |= {"tracker": "none", "launcher": "torchrun", "num_workers": 2}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    return tmp_path


def test_two_workers_evaluate_on_the_way(project: Path) -> None:
    make_references(
        open_dataset(project / "shards"),
        project / "reference",
        extractors=["dataset-cnn"],
        sources=WeightSources(),
        cnn_epochs=1,
        seed=0,
        device="cpu",
    )
    done = run_command(project, *TRAIN, "--reference", "reference")
    assert done.returncode == 0, done.stderr
    records, _ = read_stats(project / "model" / "stats.jsonl")
    found = {r.nimg: r.metrics.get("fid2k_dataset_cnn") for r in records}
    assert sorted(found) == [16, 32]
    assert all(value is not None and value > 0 for value in found.values())
    assert f"fid2k_dataset_cnn {found[32]:.2f}" in done.stderr
    config = json.loads((project / "model" / "config.json").read_text())
    entry = config["on_the_way"]["fid2k_dataset_cnn"]
    assert (entry["num_generated"], entry["seed"], entry["weights"]) == (2000, 2000, "EMA")


def test_a_missing_real_side_is_told_before_training(project: Path) -> None:
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["runtime"]["launcher"], params["runtime"]["num_workers"] = "inprocess", 1
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    done = run_command(project, *TRAIN, "--reference", "nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: nowhere/dataset-cnn/protocol.json does not exist; make it with "
        "`dvc repro reference`\n"
    )
    assert not (project / "runs").exists()
