"""The stage as DVC runs it: a process of its own."""

import shutil

import pytest
import torch

from models.configuration import GeneratorConfig
from models.generator import Generator
from pipeline.tracking.connection import connect
from pipeline.training.snapshot import write_snapshot
from tests.support.forks import run_command
from tests.support.stage_outputs import write_stage_outputs

ARGUMENTS = (
    "--model=data/model",
    "--metrics=reports/metrics.json",
    "--protocol=reports/protocol.json",
    "--samples=reports/samples",
    "--shards=data/shards",
    "--out=reports/index.html",
    "--curves=reports/curves.csv",
    "--figures=reports/figures",
)


@pytest.fixture(autouse=True)
def _no_tracking_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def project(tmp_path, digits_shards):
    """A folder in which every stage before this one has run."""
    shutil.copytree(digits_shards, tmp_path / "data" / "shards")
    write_stage_outputs(tmp_path, tmp_path / "data" / "shards")
    config = GeneratorConfig(
        resolution=32,
        image_channels=1,
        num_classes=10,
        z_dim=8,
        width=2,
        attention=(16,),
        spectral_norm=False,
    )
    torch.manual_seed(0)
    write_snapshot(
        tmp_path / "data" / "model" / "generator.safetensors",
        Generator(config),
        {"class_names": [str(digit) for digit in range(10)], "ema": True},
    )
    (tmp_path / "params.yaml").write_text("runtime:\n  tracker: none\n")
    return tmp_path


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")
def test_report_is_written_and_joins_the_run(project):
    (project / "params.yaml").write_text("report:\n  samples_per_class: 3\n")
    run = run_command(project, "stages.report", *ARGUMENTS)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert "3 generated samples of class 9" in (project / "reports" / "index.html").read_text()
    assert (project / "reports" / "curves.csv").read_text().startswith("kimg,attention/d_gamma_16")
    assert {path.name for path in (project / "reports" / "figures").iterdir()} == {
        "attention.png",
        "class_grid.png",
        "curves.png",
    }
    client = connect(f"sqlite:///{project / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("sagan")
    (found,) = client.search_runs([experiment.experiment_id])
    (page,) = client.list_artifacts(found.info.run_id, "report")
    assert page.file_size == (project / "reports" / "index.html").stat().st_size
    (version,) = client.search_model_versions("name = 'sagan-digits'")
    assert version.run_id == found.info.run_id


def test_missing_input_ends_with_one_sentence(project):
    (project / "reports" / "metrics.json").unlink()
    run = run_command(project, "stages.report", *ARGUMENTS)
    assert run.returncode == 2
    assert run.stderr == (
        "error: reports/metrics.json does not exist; `dvc repro evaluate` makes it\n"
    )
    assert not (project / "reports" / "index.html").exists()
    assert not (project / "mlflow.db").exists()
