"""A population whose driver is killed: its journal says who trains on from whom, at which rates."""

import json
from pathlib import Path

import pytest

from pipeline.search.history import fold
from pipeline.search.journal import read_journal
from pipeline.tracking.connection import connect

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning",
)
RATES = ("train.g_lr", "train.d_lr")
LOW, HIGH = 1e-4, 1e-2


@pytest.fixture(scope="module")
def project(make_project):
    """A study of two members whose driver is killed as soon as one took over the other's state."""
    project = make_project(
        "population",
        space={key: {"loguniform": [LOW, HIGH]} for key in RATES},
        searcher="random",
        scheduler="pbt",
        num_trials=2,
        max_kimg=2,
        report_kimg=0.4,
    )
    project.change("runtime", tracker="mlflow", status_kimg=0.4)
    return project


def test_killed_after_an_exchange_it_goes_on_by_its_journal(project, joined):
    process = project.start()
    project.wait_for(lambda: project.events("exploit"))
    process.kill()
    process.wait()
    (before,) = project.events("exploit")
    project.finish()

    events = read_journal(project.study / "journal.jsonl")
    exploits = [event for event in events if event["event"] == "exploit"]
    assert exploits[0] == before
    _assert_each_happens_once(events)
    _assert_runs_are_trained_at_what_the_journal_says(events)
    trials = fold(events).trials
    assert {trial.status for trial in trials.values()} == {"complete"}
    for trial in project.results()["trials"]:
        assert trial["config"] == trials[trial["id"]].config
        assert trial["kimg"] == 2
    client = connect(f"sqlite:///{project.folder / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name LIKE '%-small'")
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"}
    ended = {run.info.run_id for run in runs if run.info.status == "FINISHED"}
    assert {trial["mlflow_run_id"] for trial in project.results()["trials"]} < ended


def _assert_each_happens_once(events):
    """A member that took over another's state reports from there before it does so again."""
    pending = set()
    for event in events:
        if event["event"] == "exploit":
            assert event["id"] not in pending
            pending.add(event["id"])
        elif event["event"] == "report":
            pending.discard(event["id"])
    assert not pending
    ends = [event["id"] for event in events if event["event"] == "end"]
    assert sorted(ends) == ["000-s0", "001-s0"]


def _assert_runs_are_trained_at_what_the_journal_says(events):
    """Each report is of a run at the rates of the member's newest exchange before it."""
    told = {e["id"]: (e["config"], None) for e in events if e["event"] == "trial"}
    for event in events:
        if event["event"] == "exploit":
            parent = event["parent"]
            of_parent, _ = told[parent["trial"]]
            assert parent["trial"] != event["id"]
            for key in RATES:  # a factor of the parent's, or drawn anew
                assert LOW <= event["config"][key] <= HIGH
            assert event["config"] != of_parent
            told[event["id"]] = (event["config"], parent)
        elif event["event"] == "report":
            config, parent = told[event["id"]]
            identity = json.loads(Path(event["run_dir"], "config.json").read_text())
            assert identity["settings"]["g_lr"] == config["train.g_lr"]
            assert identity["settings"]["d_lr"] == config["train.d_lr"]
            if parent is None:
                assert "inherited" not in identity
            else:
                assert identity["inherited"]["run_key"] == parent["run_key"]
                assert identity["inherited"]["nimg"] == parent["nimg"]
                assert event["kimg"] > parent["nimg"] / 1000
