"""Whole studies under Ray: undisturbed, and with drivers, workers and nodes that are killed."""

import os
import signal

import psutil
import pytest

from tests.support.processes import kill_tree
from tests.support.study_project import METRIC, end, trial_processes


@pytest.fixture(scope="module")
def undisturbed(make_project):
    """A finished study, on this machine alone."""
    project = make_project("undisturbed")
    project.output = project.finish()
    return project


def _assert_same_values(project, expected):
    """The same trials; their values up to the order of float64 sums."""
    for ours, theirs in zip(project.table(), expected.table(), strict=True):
        assert ours[:5] == theirs[:5]
        assert [kimg for kimg, _ in ours[6]] == [kimg for kimg, _ in theirs[6]]
        values = [value for _, value in theirs[6]]
        assert [value for _, value in ours[6]] == pytest.approx(values, abs=1e-8)


def test_results_of_a_study(undisturbed):
    results = undisturbed.results()
    assert results["study"] == "small"
    assert results["metric"] == METRIC
    trials = results["trials"]
    assert [trial["config"]["train.g_lr"] for trial in trials] == [1e-4, 4e-4, 1.6e-3]
    for trial in trials:
        assert trial["status"] == "complete"
        assert trial["kimg"] == 0.48
        assert [kimg for kimg, _ in trial["reports"]] == pytest.approx(
            [0.08, 0.16, 0.24, 0.32, 0.4, 0.48]
        )
        assert trial["reports"][-1][1] == trial["value"]
    best = min(trials, key=lambda trial: trial["value"])
    assert results["best"] == {"config": best["config"], "value": best["value"], "ci95": None}
    assert f"best: train.g_lr={best['config']['train.g_lr']:g}: {METRIC}" in undisturbed.output
    assert "pid=" not in undisturbed.output  # nothing of Ray's own between the lines
    assert not (undisturbed.study / "ray").exists()


def test_a_finished_study_is_not_run_again(undisturbed):
    journal = (undisturbed.study / "journal.jsonl").read_bytes()
    assert "small is finished" in undisturbed.finish()
    assert "small is finished" in undisturbed.finish("--resume")
    assert (undisturbed.study / "journal.jsonl").read_bytes() == journal


def test_another_study_of_the_name_is_refused_with_the_difference(undisturbed):
    code, output = end(undisturbed.start("--max-kimg", "0.64"))
    assert code == 2, output
    assert "holds another study of this name" in output
    assert '-    "max_kimg": 0.48' in output
    assert '+    "max_kimg": 0.64' in output
    assert "Traceback" not in output


def test_killed_and_stopped_driver(make_project, undisturbed, joined):
    project = make_project("killed")
    process = project.start()
    project.wait_for(lambda: project.events("end"))
    process.kill()
    process.wait()
    over = {event["id"] for event in project.events("end")}
    run_dirs = {e["id"]: e["run_dir"] for e in project.events("report")}
    statistics = {id: os.stat(f"{run_dirs[id]}/stats.jsonl") for id in over}
    assert 0 < len(over) < 3

    count = len(project.events("report"))
    process = project.start("--resume")
    project.wait_for(lambda: len(project.events("report")) > count)
    os.killpg(process.pid, signal.SIGTERM)
    code, output = end(process)
    assert code == 75, output
    assert "stopped: SIGTERM; all trials are saved, run the same command to go on" in output
    assert "unfinished" in {trial["status"] for trial in project.results()["trials"]}

    project.finish()
    assert project.table() == undisturbed.table()
    for id, before in statistics.items():  # what was finished was not trained again
        assert os.stat(f"{run_dirs[id]}/stats.jsonl") == before


@pytest.mark.slow
def test_lost_worker_and_lost_node(make_project, undisturbed, joined_alone):
    node = joined_alone.add(num_cpus=2)
    project = make_project("lost", workers_per_trial=2)
    process = project.start()
    project.wait_for(lambda: project.events("report"))
    peers = trial_processes(joined_alone.processes(), "_peer")
    peers[0].kill()
    count = len(project.events("report"))
    project.wait_for(lambda: len(project.events("report")) > count + 1)

    def is_training_there():
        below = psutil.Process(node.pid).children(recursive=True)
        return trial_processes(below, "ResourceTrainable") or trial_processes(below, "_peer")

    project.wait_for(is_training_there)
    kill_tree(node)
    code, output = end(process)
    assert code == 0, output
    assert "it starts again from its last checkpoint" in output
    _assert_same_values(project, undisturbed)
