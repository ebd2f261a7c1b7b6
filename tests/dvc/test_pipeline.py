"""The whole of `dvc repro` on small settings, in a checkout of its own, as users drive it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline import load_generator
from tests.support.project import copy_project

STAGES = ["shard", "reference", "train", "evaluate", "report"]


class Checkout:
    """A git checkout of the project with small settings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        copy_project(folder)
        self.set(
            model={"g_width": 2, "d_width": 2},
            train={"total_kimg": 0.128, "snapshot_kimg": 0.064},
            reference={"cnn_epochs": 1},
            evaluate={"num_samples": 100, "kid_subsets": 4, "kid_subset_size": 50},
            runtime={"status_kimg": 0.064, "checkpoint_kimg": 0.064},
        )
        self.run("git", "init", "-q")
        self.run("git", "add", "-A")
        self.run("git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "start")

    def set(self, **sections: dict) -> None:
        path = self.folder / "params.yaml"
        params = yaml.safe_load(path.read_text())
        for section, values in sections.items():
            params[section] |= values
        path.write_text(yaml.safe_dump(params, sort_keys=False))

    def run(self, *command: str, code: int = 0) -> str:
        """Output of a command, stdout and stderr together."""
        bin_dir = Path(sys.executable).parent
        environment = {
            **os.environ,
            "PATH": f"{bin_dir}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.folder),
        }
        environment.pop("MLFLOW_TRACKING_URI", None)
        done = subprocess.run(
            command, cwd=self.folder, env=environment, timeout=480,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert done.returncode == code, done.stdout
        return done.stdout

    def dvc(self, *arguments: str, code: int = 0) -> str:
        return self.run(sys.executable, "-m", "dvc", *arguments, code=code)

    def stages_run(self, output: str) -> list[str]:
        return [stage for stage in STAGES if f"Running stage '{stage}'" in output]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    checkout = Checkout(tmp_path_factory.mktemp("checkout"))
    assert checkout.stages_run(checkout.dvc("repro")) == STAGES
    return checkout


def test_repro_leaves_everything_and_nothing_to_do(checkout):
    folder = checkout.folder
    metrics = json.loads((folder / "reports" / "metrics.json").read_text())
    protocol = json.loads((folder / "reports" / "protocol.json").read_text())
    assert {"fid_dataset_cnn", "is_mean_dataset_cnn", "kid_mean_dataset_cnn"} <= set(metrics)
    assert set(metrics) <= set(protocol)
    assert "fid" not in metrics
    page = (folder / "reports" / "index.html").read_text(encoding="utf-8")
    assert "fid_dataset_cnn" in page or "FID" in page
    G = load_generator(folder / "data" / "model" / "generator.safetensors")
    assert G.metadata["nimg"] == 128
    assert "Data and pipelines are up to date" in checkout.dvc("repro")
    assert "fid_dataset_cnn" in checkout.dvc("metrics", "show")
    checkout.dvc("plots", "show", "-o", "plots")
    assert (folder / "plots" / "index.html").exists()


def test_keys_rerun_the_stages_that_depend_on_them(checkout):
    checkout.set(runtime={"status_kimg": 0.032, "keep_checkpoints": 2})
    assert checkout.stages_run(checkout.dvc("repro")) == []
    checkout.set(report={"attention_samples": 2})
    assert checkout.stages_run(checkout.dvc("repro")) == ["report"]
    checkout.set(evaluate={"seed": 7})
    assert checkout.stages_run(checkout.dvc("repro")) == ["evaluate", "report"]


def test_experiments_run_and_become_mlflow_runs(checkout):
    output = checkout.dvc("exp", "run", "-n", "longer", "-S", "train.total_kimg=0.192")
    assert checkout.stages_run(output) == ["train", "evaluate", "report"]
    assert len(list((checkout.folder / "runs").iterdir())) == 1
    assert "longer" in checkout.dvc("exp", "show", "--csv", "--no-pager")
    script = (
        "from mlflow import MlflowClient; c = MlflowClient('sqlite:///mlflow.db');"
        "e = c.get_experiment_by_name('sagan');"
        "runs = c.search_runs([e.experiment_id]);"
        "print([(r.data.params['train/total_kimg'], r.info.status,"
        " 'eval/fid_dataset_cnn' in r.data.metrics) for r in runs])"
    )
    seen = checkout.run(sys.executable, "-W", "ignore", "-c", script)
    assert "('0.192', 'FINISHED', True)" in seen
    assert "('0.128', 'FINISHED', True)" in seen


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        ({"train": {"batchh": 3}}, "unknown key `train.batchh`; the nearest valid key is"),
        ({"train": {"batch": 5000}}, "train.batch = 5000 is larger than the training split"),
        ({"model": {"g_attention": [64]}}, "the generator has no 64x64 features"),
    ],
)
def test_mistake_costs_nothing(checkout, sections, sentence):
    params = (checkout.folder / "params.yaml").read_bytes()
    checkout.set(**sections)
    output = checkout.run(
        sys.executable, "-m", "stages.train", "--shards", "data/shards", "--out", "other", code=2
    )
    (checkout.folder / "params.yaml").write_bytes(params)
    assert output.startswith("error: ")
    assert sentence in output
    assert "Traceback" not in output
    assert not (checkout.folder / "other").exists()


# Files of packages, the stages that run again after edits of comments in them, and whether training
# starts anew.
EDITS = [
    (
        [
            "pipeline/core/errors.py",
            "pipeline/storage/atomic.py",
            "pipeline/config/schema.py",
            "pipeline/distributed/group.py",
            "pipeline/tracking/tracker.py",
            "pipeline/search/space.py",
            "pipeline/jobs/study.py",
        ],
        [],
        False,
    ),
    (
        [
            "pipeline/data/sources/digits.py",
            "pipeline/data/ingest/dataset.py",
            "pipeline/data/shards/manifest.py",
        ],
        ["shard"],
        False,
    ),
    (["pipeline/runs/prune.py"], ["train"], False),
    (["pipeline/reporting/page.py"], ["report"], False),
    (["pipeline/evaluation/executor.py"], ["reference", "evaluate"], False),
    (["pipeline/data/loading/batches.py"], ["reference", "train", "evaluate", "report"], True),
    (["pipeline/training/steps.py"], ["train", "evaluate", "report"], True),
    (["models/attention.py"], ["train", "evaluate", "report"], True),
]


def test_edits_of_comments_rerun_what_they_can_matter_to(checkout):
    for files, stages, trains in EDITS:
        for file in files:
            with open(checkout.folder / file, "a", encoding="utf-8") as opened:
                opened.write("# A comment.\n")
        output = checkout.dvc("repro")
        assert checkout.stages_run(output) == stages, files
        assert (" kimg, " in output) is trains, files
