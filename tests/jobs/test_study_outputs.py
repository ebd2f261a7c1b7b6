"""The outputs of a study: patch, metrics for DVC, tune.py --apply."""

import json
import subprocess
import sys

import pytest
import yaml

from pipeline.core.errors import UserError
from pipeline.jobs.study_outputs import write_outcomes, write_outputs
from pipeline.search.recommendation import apply_to, recommendation
from pipeline.search.study_folder import STUDY_NAME
from tests.support.project import ROOT
from tests.support.study_folders import falling, write_attention, write_study, write_ttur

PARAMS = """\
# Of the test.
model:
  variant: sagan          # by name

train:
  batch: 64
  g_lr: null   # of G
  d_lr: null   # of D
"""


@pytest.fixture
def params(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS)
    return path


def untracked(folder):
    """The study without MLflow."""
    described = json.loads((folder / STUDY_NAME).read_text())
    described["params"] = {"runtime": {"tracker": "none"}}
    (folder / STUDY_NAME).write_text(json.dumps(described))
    return folder


def test_outputs_are_written_twice_the_same(tmp_path):
    folder = untracked(write_ttur(tmp_path / "studies" / "ttur"))
    write_outputs(folder)
    first = {p: p.read_bytes() for p in sorted(folder.parent.rglob("*")) if p.is_file()}
    assert {p.name for p in first} == {
        *("study.json", "journal.jsonl", "results.json", "index.html", "best.patch.yaml"),
        *("metrics.json", "curves.png", "rates.png"),
    }
    write_outputs(folder)
    assert first == {p: p.read_bytes() for p in sorted(folder.parent.rglob("*")) if p.is_file()}
    patch = yaml.safe_load((folder / "best.patch.yaml").read_text())
    assert patch == {"train": {"g_lr": 4.5e-4, "d_lr": 1.8e-3}}


def test_apply_changes_only_the_values(tmp_path, params):
    found = recommendation(write_ttur(tmp_path / "ttur"))
    assert apply_to(params, found) == []
    assert params.read_text() == PARAMS.replace("null   # of G", "0.00045 # of G").replace(
        "null   # of D", "0.0018 # of D"
    )
    before = params.read_bytes()
    apply_to(params, found)  # again
    assert params.read_bytes() == before


def test_apply_refuses_what_was_changed_since_the_study_began(tmp_path, params):
    params.write_text(PARAMS.replace("g_lr: null", "g_lr: 0.5"))
    before = params.read_bytes()
    with pytest.raises(
        UserError, match=r"changed since study ttur began: train.g_lr was null, is 0.5 and would"
    ):
        apply_to(params, recommendation(write_ttur(tmp_path / "ttur")))
    assert params.read_bytes() == before


def test_apply_refuses_values_that_other_keys_contradict(tmp_path, params):
    text = PARAMS.replace("# by name\n", "# by name\n  g_attention: [16]\n")
    params.write_text(text)
    folder = write_attention(tmp_path / "attention", {"no-attention": 1.0, "sagan-feat16": 2.0})
    with pytest.raises(UserError, match="g_attention"):
        apply_to(params, recommendation(folder))
    assert params.read_text() == text


def test_apply_prints_other_differences(tmp_path, params):
    params.write_text(PARAMS.replace("batch: 64", "batch: 32"))
    (note,) = apply_to(params, recommendation(write_ttur(tmp_path / "ttur")))
    assert note == f"the trials had train.batch = 64, {params} has 32"


def test_apply_needs_a_finished_trial(tmp_path):
    config = {"train.g_lr": 1e-4, "train.d_lr": 1e-4}
    folder = write_study(tmp_path / "ttur", [(config, 0, "stopped", falling(9.0, 2))])
    with pytest.raises(UserError, match="no trial that was trained to its end"):
        recommendation(folder)


def test_params_of_a_study_are_recommended_and_those_of_smoke_are_not(tmp_path):
    shared = {"train.g_lr_halflife_kimg": None}
    folder = write_ttur(tmp_path / "a", params=shared)
    assert "-S train.g_lr_halflife_kimg=null " in recommendation(folder).exp_run
    folder = write_ttur(tmp_path / "b", params=shared, request={"smoke": True})
    assert "halflife" not in recommendation(folder).exp_run


def test_tune_applies_from_the_command_line(tmp_path, params):
    write_ttur(tmp_path / "reports" / "studies" / "ttur")
    command = [sys.executable, str(ROOT / "tune.py"), "--study", "ttur", "--apply"]
    command += ["--project", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(params.read_text())["train"]["g_lr"] == 4.5e-4
    assert "dvc exp run -n ttur-best -S train.g_lr=0.00045 -S train.d_lr=0.0018" in done.stdout


def test_outcomes_of_all_studies_in_one_file(tmp_path):
    for name, write in (("ttur", write_ttur), ("attention", write_attention)):
        write_outputs(untracked(write(tmp_path / name)))
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "results.json").write_text('{"study": "to')
    write_outcomes(tmp_path)
    outcomes = json.loads((tmp_path / "metrics.json").read_text())
    assert set(outcomes) == {"ttur", "attention"}
    assert outcomes["ttur"] == {"fid2k_dataset_cnn": 39.7, "trials": 6, "finished": 3}
    assert outcomes["attention"]["fid2k_dataset_cnn"] == pytest.approx(24.9)
    assert outcomes["attention"]["fid2k_dataset_cnn_ci95_low"] == pytest.approx(19.82, abs=0.01)


def test_dvc_shows_outcomes_in_the_workspace_and_in_experiments(tmp_path):
    def call(*command):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    (tmp_path / "dvc.yaml").write_text(
        "stages:\n  train:\n    cmd: cp params.yaml out.yaml\n    params: [train]\n"
        "    outs: [out.yaml]\nmetrics:\n  - reports/studies/metrics.json\n"
    )
    listed = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["metrics"]
    assert listed == ["reports/studies/metrics.json"]
    (tmp_path / "params.yaml").write_text("train:\n  g_lr: 1.0\n")
    (tmp_path / ".gitignore").write_text((ROOT / ".gitignore").read_text())
    write_outcomes(tmp_path / "reports" / "studies")
    call("git", "init", "-q")
    call("git", "config", "user.email", "a@b.c")
    call("git", "config", "user.name", "a")
    dvc = (sys.executable, "-m", "dvc")
    call(*dvc, "init", "-q")
    call("git", "add", "-A")
    call("git", "commit", "-qm", "a")
    write_outputs(untracked(write_ttur(tmp_path / "reports" / "studies" / "ttur")))
    found = recommendation(tmp_path / "reports" / "studies" / "ttur")
    call(*dvc, "exp", "run", "-q", "-n", "ttur-best", "-S", "train.g_lr=0.00045")
    assert found.exp_run.startswith("dvc exp run -n ttur-best -S train.g_lr=0.00045 ")
    rows = [row.split(",") for row in call(*dvc, "exp", "show", "--csv").splitlines()]
    column = rows[0].index("ttur.fid2k_dataset_cnn")
    values = {row[0] or row[1]: row[column] for row in rows[1:]}
    assert values["workspace"] == "39.7"
    assert values["ttur-best"] == "39.7"
