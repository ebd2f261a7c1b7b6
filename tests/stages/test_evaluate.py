"""The stage as DVC runs it: a process of its own."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.data.shards.reader import open_dataset
from pipeline.evaluation.extractors.weights import WeightSources
from pipeline.evaluation.reference.compute import make_references
from stages.evaluate import main
from tests.support.forks import run_command
from tests.support.subjects import write_model, write_stripes

PATHS = {
    "model": "data/model",
    "reference": "data/reference",
    "shards": "data/shards",
    "metrics": "reports/metrics.json",
    "protocol": "reports/protocol.json",
    "samples": "reports/samples",
}


@pytest.fixture(autouse=True)
def _no_tracking_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def _run(folder: Path) -> "subprocess.CompletedProcess[str]":
    arguments = [part for name, path in PATHS.items() for part in (f"--{name}", path)]
    return run_command(folder, "stages.evaluate", *arguments)


def test_it_scores_the_model_and_tells_mlflow(tmp_path: Path) -> None:
    manifest = write_stripes(tmp_path / "data" / "shards")
    make_references(
        open_dataset(tmp_path / "data" / "shards"),
        tmp_path / "data" / "reference",
        extractors=["dataset-cnn"],
        sources=WeightSources(),
        cnn_epochs=1,
        seed=0,
        device="cpu",
    )
    write_model(tmp_path / "data" / "model", manifest)
    (tmp_path / "params.yaml").write_text(
        "evaluate: {num_samples: 30, kid_subsets: 5, kid_subset_size: 10}\n"
    )
    run = _run(tmp_path)
    assert run.returncode == 0, run.stderr
    # The note about so few images is printed once for each generator, and nothing else is.
    averaged, raw = run.stderr.splitlines()
    message = "is of 30 images in 64 dimensions and far too large for it"
    assert averaged.startswith(f"note: fid_dataset_cnn {message}")
    assert raw.startswith(f"note: fid_dataset_cnn_raw {message}")
    metrics = json.loads((tmp_path / "reports" / "metrics.json").read_text())
    protocol = json.loads((tmp_path / "reports" / "protocol.json").read_text())
    assert metrics.keys() == protocol.keys()
    assert protocol["fid_dataset_cnn"]["num_generated"] == 30
    assert f"{metrics['fid_dataset_cnn']:.4f}" in run.stdout
    assert sorted(p.name for p in (tmp_path / "reports" / "samples").iterdir()) == [
        "attention.npz",
        "class_grid.png",
    ]
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as store:
        logged = store.execute("select key, value, step from metrics").fetchall()
    assert {(f"eval/{key}", value, 640) for key, value in metrics.items()} == set(logged)


def test_a_mistake_ends_in_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    manifest = write_stripes(tmp_path / "data" / "shards", per_class=4)
    write_model(tmp_path / "data" / "model", manifest)
    (tmp_path / "params.yaml").write_text("{}\n")
    run = _run(tmp_path)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == (
        "error: data/reference/dataset-cnn/protocol.json does not exist; make it with "
        "`dvc repro reference`\n"
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "params.yaml"]


def test_help_explains_the_section(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate", "--help"])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert "kid_subset_size = 300" in capsys.readouterr().out
