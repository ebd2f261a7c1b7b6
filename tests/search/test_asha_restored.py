"""ASHA over drivers that are killed, with a searcher whose draws do not depend on results.

One trial at a time reports in a fixed order, so the results equal those without a kill. Several at
a time race for the rungs; then each is still compared with all reports before its own.
"""

import os
from types import SimpleNamespace

import pytest
from ray.tune.schedulers import TrialScheduler

from pipeline.search.journal import Journal, Recorder, fold, read_journal
from pipeline.search.schedulers import JournaledASHA
from tests.support.studies import study
from tests.support.study_project import METRIC

HALVING = {
    "space": {"train.g_lr": {"loguniform": [1e-4, 1e-2]}},
    "searcher": "random",
    "scheduler": "asha",
    "num_trials": 6,
    "max_kimg": 0.64,
    "report_kimg": 0.16,
    "reduction_factor": 2,
}


def _replayed(project, tmp_path):
    """(trials that are stopped, trials that a scheduler over the same journal would stop)."""
    events = read_journal(project.study / "journal.jsonl")
    small = study(**{**HALVING, "metric": METRIC})
    recorder = Recorder(small, Journal(tmp_path / "j.jsonl"), fold(events), lambda trial: None)
    trials = recorder.history.trials.values()
    scheduler = JournaledASHA(recorder, events)
    behind = set()
    for trial in trials:  # repeated reports do not change the decision
        first = {"id": trial.id, "kimg": trial.reports[0].kimg, "value": trial.reports[0].value}
        rays = SimpleNamespace(config={"trial": {"id": trial.id}}, trial_id=trial.id)
        if scheduler.on_trial_result(None, rays, first) == TrialScheduler.STOP:
            behind.add(trial.id)
    return {trial.id for trial in trials if trial.status == "stopped"}, behind


def _kill(project, condition):
    process = project.start()
    project.wait_for(condition)
    process.kill()
    process.wait()


def _written(project):
    run_dirs = {e["id"]: e["run_dir"] for e in project.events("report")}
    over = [event["id"] for event in project.events("end")]
    assert len(set(over)) == len(over)
    return {run_dirs[id]: os.stat(f"{run_dirs[id]}/stats.jsonl").st_mtime_ns for id in over}


@pytest.fixture(scope="module")
def one_at_a_time(make_project):
    return [make_project(name, **HALVING, max_concurrent=1) for name in ("whole", "killed")]


@pytest.mark.slow
def test_one_trial_at_a_time_gives_the_results_without_a_kill(one_at_a_time, joined, tmp_path):
    whole, killed = one_at_a_time
    whole.finish()
    _kill(killed, lambda: len(killed.events("end")) > 1)
    written = _written(killed)
    killed.finish("--resume")
    assert killed.table() == whole.table()
    statuses = {trial["status"] for trial in killed.results()["trials"]}
    assert statuses == {"complete", "stopped"}
    assert written.items() <= _written(killed).items()
    stopped, behind = _replayed(killed, tmp_path)
    assert stopped == behind != set()


@pytest.mark.slow
def test_concurrent_trials_are_compared_with_all_reports_before(make_project, joined, tmp_path):
    project = make_project("several", **HALVING)
    _kill(project, lambda: project.events("end"))
    written = _written(project)
    project.finish()
    assert written.items() <= _written(project).items()
    trials = project.results()["trials"]
    assert [trial["id"] for trial in trials] == [f"00{index}-s0" for index in range(6)]
    assert {trial["status"] for trial in trials} == {"complete", "stopped"}
    stopped, behind = _replayed(project, tmp_path)
    assert stopped == behind != set()
