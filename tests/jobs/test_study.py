"""The commands of tune.py without Ray: dry runs, mistakes and cost."""

import json
import shutil
import subprocess
import sys

import pytest

import tune
from pipeline.config.overrides import read_assignment, with_values
from pipeline.config.params import Params, override
from pipeline.core.errors import UserError
from pipeline.data.shards.reader import open_dataset
from pipeline.runs.run_folder import run_identity
from pipeline.runs.settings import train_settings
from pipeline.search.cost import estimate
from pipeline.search.study import make_study
from pipeline.tracking.jsonl import JsonlTracker
from stages.entry import run_stage
from tests.support.processes import environment
from tests.support.project import ROOT
from tests.support.studies import SMALL, section


@pytest.fixture(scope="module")
def project(tmp_path_factory, digits_shards):
    folder = tmp_path_factory.mktemp("project")
    shutil.copyfile(ROOT / "params.yaml", folder / "params.yaml")
    (folder / "data").mkdir()
    (folder / "data" / "shards").symlink_to(digits_shards)
    (folder / "data" / "reference").mkdir()
    return folder


def _run(script, cwd, *arguments):
    done = subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" not in done.stderr
    return done


def test_a_dry_run_from_anywhere_shows_trials_and_their_cost(project, tmp_path):
    script = tmp_path / "tune.py"  # outside of the project, as `ray submit` copies it
    shutil.copyfile(ROOT / "tune.py", script)
    arguments = ["--project", project, "--study", "attention", "--dry-run", "--seeds", "0,1"]
    small = [f"{key}={value}" for key, value in SMALL.items()]
    arguments += [part for value in small for part in ("-S", value)]
    done = _run(script, tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    assert "000-s0: model.variant = no-attention, seed 0\n" in done.stdout
    assert "004-s1: model.variant = residual-feat16, seed 1\n" in done.stdout
    assert "10 runs, 0.64 M images, " in done.stdout
    assert "measured now over 6 steps" in done.stdout
    assert not (project / "reports").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--study", "atention"], "the nearest is attention"),
        (["--study", "ttur", "-S", "train.batch"], "must be key=value, such as"),
        (["--study", "ttur", "-S", "trian.batch=3"], "unknown key `trian`; the nearest valid key"),
        (["--study", "ttur", "--resume"], "there is no such study yet; `python tune.py --study t"),
        (["--smoke", "--apply"], "no such study yet; `python tune.py --study ttur --smoke` starts"),
        (
            ["--study", "ttur", "--shards", "elsewhere"],
            "elsewhere does not exist; `dvc repro reference` makes data/shards and the",
        ),
        (["--study", "ttur", "--resume", "--seeds", "1"], "leave --seeds out"),
        (["--study", "ttur", "--seeds", "one"], "must be whole numbers"),
        (["--study", "ttur", "--project", "nowhere"], "there is no params.yaml in nowhere"),
        ([], "--study is missing"),
    ],
)
def test_mistake_is_one_sentence(project, arguments, sentence, monkeypatch, capsys):
    monkeypatch.chdir(project)
    monkeypatch.setattr(sys, "argv", ["tune.py", *arguments])
    with pytest.raises(SystemExit) as caught:
        run_stage(tune.main)
    assert caught.value.code == 2
    assert sentence in capsys.readouterr().err


def test_cost_of_a_study(digits_shards, tmp_path):
    dataset = open_dataset(digits_shards)
    params = override(Params(), {**SMALL, "runtime.runs_dir": str(tmp_path / "runs")})
    content = section(
        space={"train.g_lr": {"grid": [1e-4, 2e-4, 4e-4]}},
        searcher="grid",
        num_trials=None,
        scheduler="none",
        seeds=[0, 1],
    )
    study = make_study("mine", content, params, dataset.manifest, "shards", "reference")
    example = {"train.g_lr": 1e-4}
    run = tmp_path / "runs" / "like"
    settings = train_settings(study.trial_params(example, 0), dataset.manifest)
    tracker = JsonlTracker(run)
    for nimg, speed in ((16, 90.0), (32, 100.0), (48, 300.0)):
        tracker.log({"throughput/images_per_s": speed}, nimg, 1.0)
    tracker.close("finished")
    identity = json.dumps(run_identity(settings, dataset.manifest.digest))
    (run / "config.json").write_text(identity)

    cost = estimate(study, dataset, example)
    assert cost.images == 6 * 9008  # whole batches of 16
    assert cost.images_per_s == 100.0
    assert cost.speed_source == f"median of {run}/stats.jsonl"
    assert cost.device_hours == pytest.approx(6 * 9008 / 100 / 3600)
    assert cost.run_bytes > 0


def test_set_replaces_values():
    assert read_assignment("train.g_lr=1.0e-4") == ("train.g_lr", 1e-4)
    assert read_assignment("model.g_attention=[8, 16]") == ("model.g_attention", [8, 16])
    content = {"train": {"batch": 1, "seed": 2}}
    changed = with_values(content, {"train.batch": 3, "runtime.device": "cpu"})
    assert changed == {"train": {"batch": 3, "seed": 2}, "runtime": {"device": "cpu"}}
    assert content["train"]["batch"] == 1
    space = with_values({}, {"search.studies.a.space.train.g_lr": {"choice": [1]}})
    assert space["search"]["studies"]["a"]["space"] == {"train.g_lr": {"choice": [1]}}
    with pytest.raises(UserError, match=r"train\.batch is 1 and has no keys below it"):
        with_values(content, {"train.batch.size": 3})
