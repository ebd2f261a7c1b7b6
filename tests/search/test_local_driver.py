"""Studies on this machine alone, with a Ray that the driver starts and that ends with it."""

import os
import signal
from collections import Counter
from pathlib import Path

import psutil
import pytest

from pipeline.tracking.connection import connect
from tests.support.processes import wait_for
from tests.support.study_project import end, trial_processes

RATES = [1e-4, 4e-4, 8e-4, 1.6e-3, 3.2e-3]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning",
    ),
]
GONE_S = 120  # Ray's agents ask a dead server for a minute before they give up


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture(scope="module")
def undisturbed(make_project):
    """A finished study."""
    project = make_project("whole", space={"train.g_lr": {"grid": RATES}})
    project.finish()
    assert [trial["status"] for trial in project.results()["trials"]] == ["complete"] * len(RATES)
    return project


def _below(process):
    return psutil.Process(process.pid).children(recursive=True)


def _gone(context):
    return all(not p.is_running() or p.status() == psutil.STATUS_ZOMBIE for p in context)


def _finished(project):
    """By trial: its run folder, and when its statistics were written."""
    over = {event["id"] for event in project.events("end")}
    run_dirs = {e["id"]: e["run_dir"] for e in project.events("report")}
    return {id: (run_dirs[id], os.stat(f"{run_dirs[id]}/stats.jsonl").st_mtime_ns) for id in over}


def _assert_not_trained_again(finished):
    for run_dir, written in finished.values():
        assert os.stat(f"{run_dir}/stats.jsonl").st_mtime_ns == written


def test_driver_killed_alone_and_with_its_process_group(make_project, undisturbed):
    project = make_project("killed", space={"train.g_lr": {"grid": RATES}})
    project.change("runtime", tracker="mlflow")

    process = project.start()
    project.wait_for(lambda: project.events("end"))
    of_ray = _below(process)
    assert trial_processes(of_ray, "ResourceTrainable")
    process.kill()
    process.wait()
    finished = _finished(project)
    assert 0 < len(finished) < len(RATES)

    # At once, while what trained may still be going down.
    count = len(project.events("report"))
    process = project.start()
    project.wait_for(lambda: len(project.events("report")) > count)
    assert not trial_processes(of_ray, "ResourceTrainable")
    of_ray += _below(process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    _assert_not_trained_again(finished)
    finished = _finished(project)
    assert len(finished) < len(RATES)

    project.finish("--resume")
    assert project.table() == undisturbed.table()
    _assert_not_trained_again(finished)
    assert Counter(event["id"] for event in project.events("end")).most_common(1)[0][1] == 1
    client = connect(f"sqlite:///{project.folder / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name LIKE '%-small'")
    runs = client.search_runs([experiment.experiment_id])
    trials = {run.data.tags.get("trial", "study"): run for run in runs}
    assert len(runs) == len(RATES) + 1
    assert set(trials) == {"study", *(trial["id"] for trial in project.results()["trials"])}
    assert {run.info.status for run in runs} == {"FINISHED"}
    for trial in project.results()["trials"]:
        assert trial["mlflow_run_id"] == trials[trial["id"]].info.run_id
    wait_for(lambda: _gone(of_ray), GONE_S)


def _stop(project, process, number):
    """Sends a signal as a terminal does, to Ray's processes too; the driver's output."""
    of_ray = _below(process)
    os.killpg(process.pid, number)
    code, output = end(process)
    assert code == 75, output
    name = signal.Signals(number).name
    assert f"{name}: the trials save where they are" in output
    assert f"stopped: {name}; all trials are saved, run the same command to go on" in output
    assert "Traceback" not in output
    assert _gone(of_ray)
    unfinished = [t for t in project.results()["trials"] if t["status"] == "unfinished"]
    assert any(trial["run_dir"] is not None for trial in unfinished)
    for trial in unfinished:  # none goes back behind its last report
        if trial["run_dir"] is not None:
            assert _newest_checkpoint(trial["run_dir"]) >= trial["kimg"]
    return output


def _newest_checkpoint(run_dir):
    names = [path.stem for path in Path(run_dir, "checkpoints").glob("checkpoint-*.pt")]
    return max(int(name.removeprefix("checkpoint-")) for name in names) / 1000


def test_killed_trial_and_signals_to_the_driver(make_project, undisturbed):
    project = make_project("signals", space={"train.g_lr": {"grid": RATES}})
    process = project.start()
    project.wait_for(lambda: project.events("report"))
    trial_processes(_below(process), "ResourceTrainable")[0].kill()
    project.wait_for(lambda: any(e["id"] == "002-s0" for e in project.events("report")))
    output = _stop(project, process, signal.SIGINT)
    assert "it starts again from its last checkpoint" in output

    count = len(project.events("report"))
    process = project.start("--resume")
    project.wait_for(lambda: len(project.events("report")) > count)
    output = _stop(project, process, signal.SIGTERM)
    assert "it starts again" not in output
    finished = _finished(project)

    project.finish()
    assert project.table() == undisturbed.table()
    _assert_not_trained_again(finished)
