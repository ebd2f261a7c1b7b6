"""The stage as DVC runs it: a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.data.shards.manifest import read_manifest
from pipeline.evaluation.reference.folder import read_reference
from stages.reference import main
from tests.support.forks import run_command
from tests.support.subjects import write_stripes


def _run(folder: Path) -> "subprocess.CompletedProcess[str]":
    return run_command(folder, "stages.reference", "--shards", "shards", "--out", "reference")


def test_it_trains_the_classifier_and_keeps_the_reference_statistics(tmp_path: Path) -> None:
    write_stripes(tmp_path / "shards")
    (tmp_path / "params.yaml").write_text("reference: {cnn_epochs: 1, seed: 4}\n")
    run = _run(tmp_path)
    assert (run.returncode, run.stderr) == (0, "")
    manifest = read_manifest(tmp_path / "shards")
    heldout = manifest.splits["heldout"].rows
    assert "dataset-cnn: trained on" in run.stdout
    assert f"of {heldout} held-out images" in run.stdout
    reference = read_reference(tmp_path / "reference" / "dataset-cnn", manifest)
    assert reference.protocol.training is not None
    assert (reference.protocol.training["seed"], reference.protocol.training["epochs"]) == (4, 1)
    assert not list((tmp_path / "reference").rglob("*.tmp"))


def test_a_mistake_ends_in_one_sentence(tmp_path: Path) -> None:
    write_stripes(tmp_path / "shards", per_class=4)
    content = {"extractors": ["inception-v3-compat"], "inception_weights": "nowhere.pth"}
    (tmp_path / "params.yaml").write_text(json.dumps({"reference": content}))
    run = _run(tmp_path)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == (
        "error: reference.inception_weights: nowhere.pth cannot be read (No such file or "
        "directory); give the path of a weights file, s3://bucket/key, or `download`\n"
    )
    assert not (tmp_path / "reference").exists()


def test_help_explains_the_section(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["reference", "--help"])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert "cnn_epochs = 10" in capsys.readouterr().out
