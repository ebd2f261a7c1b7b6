"""results.json: what is written reads back, damage is told, the best is found."""

import json
import math

import pytest
from scipy import stats

from pipeline.errors import UserError
from pipeline.search.configurations import best_configuration, configurations, ranked
from pipeline.search.results import StudyData, StudyResults, study_results, write_results
from pipeline.search.trial_result import TrialResult


def trial(number, value, *, seed=0, status="finished", kimg=8.0, **config):
    return TrialResult(
        id=f"{number:05d}",
        config={f"train.{key}": setting for key, setting in config.items()},
        seed=seed,
        status=status,
        kimg=kimg,
        value=value,
        history=((4.0, math.nan), (kimg, value)) if value is not None else (),
        mlflow_run_id=f"m{number}",
    )


def study(trials, **changes):
    fields = {
        "study": "ttur",
        "metric": "fid2k_dataset_cnn",
        "mode": "min",
        "finished": True,
        "max_kimg": 8.0,
        "seeds": (0, 1),
        "space": {"train.g_lr": {"loguniform": [1e-5, 1e-3]}},
        "data": StudyData(
            name="digits", kind="digits", digest="d1" * 32, resolution=32, num_classes=10
        ),
    }
    return StudyResults(trials=tuple(trials), **(fields | changes))


def test_results_read_back_as_they_were_written(tmp_path):
    written = study([trial(1, 30.0, g_lr=1e-4), trial(2, None, status="failed", g_lr=2e-4)])
    write_results(tmp_path, written)
    read = study_results(tmp_path)
    assert repr(read) == repr(written)  # nan is not equal to itself


def test_best_has_the_issue_s_keys_and_student_s_interval(tmp_path):
    values = [30.0, 34.0]
    trials = [trial(i, v, seed=i, g_lr=1e-4) for i, v in enumerate(values)]
    trials += [trial(5, 31.0, seed=0, g_lr=2e-4), trial(6, 40.0, seed=1, g_lr=2e-4)]
    write_results(tmp_path, study(trials))
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["best"]["config"] == {"train.g_lr": 1e-4}
    assert content["best"]["value"] == 32.0
    low, high = stats.t.interval(0.95, 1, loc=32.0, scale=stats.sem(values))
    assert content["best"]["ci95"] == pytest.approx([low, high])
    assert {"id", "config", "status", "kimg", "value", "mlflow_run_id"} <= set(content["trials"][0])


def test_one_seed_has_no_interval_and_no_finished_trial_no_best(tmp_path):
    write_results(tmp_path, study([trial(1, 30.0, g_lr=1e-4)], seeds=(0,)))
    assert json.loads((tmp_path / "results.json").read_text())["best"]["ci95"] is None
    write_results(tmp_path, study([trial(1, 3.0, status="stopped", g_lr=1e-4)]))
    assert json.loads((tmp_path / "results.json").read_text())["best"] is None


def test_a_configuration_with_all_seeds_comes_before_a_lucky_one_with_fewer():
    trials = [trial(1, 10.0, seed=0, g_lr=1e-4), trial(2, None, seed=1, status="failed", g_lr=1e-4)]
    trials += [trial(3, 20.0, seed=0, g_lr=2e-4), trial(4, 22.0, seed=1, g_lr=2e-4)]
    assert best_configuration(trials, (0, 1), "min").config == {"train.g_lr": 2e-4}
    assert [c.mean for c in ranked(trials, (0, 1), "min")] == [21.0, 10.0]
    assert [c.mean for c in ranked(trials, (0,), "max")] == [21.0, 10.0]
    assert [c.mean for c in ranked(trials, (0,), "min")] == [10.0, 21.0]


def test_values_that_are_equal_as_data_are_one_configuration():
    trials = [trial(1, 1.0, seed=0, a=[8, 16], b=None), trial(2, 2.0, seed=1, b=None, a=[8, 16])]
    (only,) = configurations(trials)
    assert only.values == (1.0, 2.0)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: c.pop("trials"), "trials"),
        (lambda c: c["trials"][0].update(status="lost"), "lost"),
        (lambda c: c.update(format=9), "format 9"),
        (lambda c: c.update(mode="best"), "mode"),
        (lambda c: c["trials"][0].update(value="high"), "high"),
    ],
)
def test_damaged_results_are_told(tmp_path, change, told):
    write_results(tmp_path, study([trial(1, 30.0, g_lr=1e-4)]))
    content = json.loads((tmp_path / "results.json").read_text())
    change(content)
    (tmp_path / "results.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf"results\.json is damaged .*{told}"):
        study_results(tmp_path)


def test_missing_results_name_the_command(tmp_path):
    with pytest.raises(UserError, match=r"does not exist; `python tune.py --study .*` makes it"):
        study_results(tmp_path / "ttur")
