"""A study in MLflow, over a real server that is killed in the middle."""

import json
from pathlib import Path

import mlflow
import pytest

from pipeline.tracking.connection import connect
from pipeline.tracking.study import StudySummary, TrialSummary, sync_study
from pipeline.tracking.study_experiment import (
    VIEW_TAG,
    prepare_experiment,
    retire_trials,
    run_id_of,
    study_view,
    view_address,
)
from tests.support.tracked_runs import points, report, start

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning",
)
VIEW = study_view("fid2k", ["g_lr", "d_lr", "seed"], ["fid2k", "study/kimg"], lower_is_better=True)


def summary(folder, **changes):
    (folder / "results.json").write_text("{}")
    (folder / "curves.png").write_bytes(b"png")
    fields = {
        "name": "ttur",
        "identity": "0123456789ab",
        "is_finished": True,
        "num_over": 3,
        "written_s": 1e9,
        "params": {"searcher": "tpe"},
        "metrics": {"best": 40.0},
        "view": VIEW,
        "files": [folder / "results.json"],
        "pictures": [folder / "curves.png"],
    }
    return StudySummary(**(fields | changes))


def trial(number, folder, status, nimg, value):
    return TrialSummary(
        id=f"00{number}-s0",
        seed=0,
        status=status,
        outcome={"complete": "finished", "failed": "failed"}.get(status, "preempted"),
        nimg=nimg,
        value=value,
        run_dir=folder,
    )


def runs_of(uri, experiment):
    """Trials by id and the study's own run; the server has runs of other tests too."""
    client = connect(uri)
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    tags = [run.data.tags for run in found]
    names = [tag.get("trial", tag.get("role")) for tag in tags]
    return client, {name: run for name, run in zip(names, found, strict=True) if name}


def test_a_server_that_dies_in_a_study_misses_nothing_once_it_is_back(tmp_path, server, capfd):
    prepare_experiment(server.uri, "sagan", VIEW)
    assert connect(server.uri).get_experiment_by_name("sagan").tags[VIEW_TAG] == VIEW
    folders = [tmp_path / str(number) for number in range(3)]
    track = start(folders[0], server.uri, run_key="s0")
    report(track, folders[0], [1000, 2000])
    track.close("finished")
    server.kill()
    try:
        for number, nimgs in ((1, [1000]), (2, [1000, 2000])):
            track = start(folders[number], server.uri, run_key=f"s{number}", close_s=0.1)
            report(track, folders[number], nimgs)
            if number == 1:
                track.close("preempted")  # trial 2 is killed: it never says how it ended
        trials = [
            trial(0, folders[0], "complete", 2000, 40.0),
            trial(1, folders[1], "stopped", 1000, 90.0),
            trial(2, folders[2], "failed", 2000, None),
            trial(3, None, "unfinished", 0, None),
        ]
        capfd.readouterr()
        synced = sync_study(summary(tmp_path), trials, uri=server.uri, experiment="sagan")
        assert synced.view is None
        assert set(synced.run_ids) == {"000-s0"}
        errors = capfd.readouterr().err
        assert errors.count("\n") == 1
        assert "did not take all of the study: [Errno 111] Connection refused" in errors
    finally:
        track._closing.set()  # all that a kill would end
        track._thread.join(60)
        track._stats.close("failed")
        server.start()
    synced = sync_study(summary(tmp_path), trials, uri=server.uri, experiment="sagan")
    client, runs = runs_of(server.uri, "sagan")
    experiment = client.get_experiment_by_name("sagan")
    assert synced.view == view_address(experiment.experiment_id)
    assert json.loads(experiment.tags[VIEW_TAG])["compareRunCharts"][0]["selectedParams"] == [
        *("config/g_lr", "config/d_lr", "config/seed")
    ]
    assert {id: runs[id].info.run_id for id in synced.run_ids} == synced.run_ids
    assert set(synced.run_ids) == {"000-s0", "001-s0", "002-s0"}
    statuses = {key: run.info.status for key, run in runs.items()}
    assert statuses == {
        "000-s0": "FINISHED",
        "001-s0": "KILLED",
        "002-s0": "FAILED",
        "study": "FINISHED",
    }
    assert runs["001-s0"].data.tags["trial_status"] == "stopped"
    assert points(client, runs["001-s0"]) == [(1000, 1.0)]
    assert points(client, runs["002-s0"]) == [(1000, 1.0), (2000, 2.0)]
    assert points(client, runs["001-s0"], "study/value") == [(1000, 90.0)]
    assert run_id_of(folders[1], server.uri, "sagan", 8000) == runs["001-s0"].info.run_id
    files = {file.path for file in client.list_artifacts(runs["study"].info.run_id)}
    assert files == {"results.json", "pictures"}

    # Once more, and the study went on: nothing is double.
    more = summary(tmp_path, num_over=4, written_s=2e9, metrics={"best": 60.0})
    sync_study(more, trials, uri=server.uri, experiment="sagan")
    client, again = runs_of(server.uri, "sagan")
    assert {r.info.run_id for r in again.values()} == {r.info.run_id for r in runs.values()}
    assert len(again) == 4
    assert points(client, again["002-s0"]) == [(1000, 1.0), (2000, 2.0)]
    assert points(client, again["000-s0"], "study/value") == [(2000, 40.0)]
    assert again["study"].data.metrics["study/best"] == 60.0  # the newest, not the largest


def test_a_continued_trial_is_updated(tmp_path, store):
    folder = tmp_path / "run"
    track = start(folder, store)
    report(track, folder, [1000])
    track.close("preempted")
    sync_study(
        summary(tmp_path, is_finished=False),
        [trial(0, folder, "stopped", 1000, 9.0)],
        uri=store,
        experiment="sagan",
    )
    track = start(folder, store)
    report(track, folder, [2000])
    track.close("finished")
    sync_study(
        summary(tmp_path),
        [trial(0, folder, "complete", 2000, 5.0)],
        uri=store,
        experiment="sagan",
    )
    client, runs = runs_of(store, "sagan")
    assert len(runs) == 2
    assert runs["000-s0"].info.status == "FINISHED"
    assert runs["000-s0"].data.tags["trial_status"] == "complete"
    assert points(client, runs["000-s0"], "study/value") == [(1000, 9.0), (2000, 5.0)]


def test_a_restarted_study_shows_its_own_trials_only(tmp_path, store):
    folders = [tmp_path / "0", tmp_path / "1"]
    for number, folder in enumerate(folders):
        track = start(folder, store, run_key=f"s{number}")
        report(track, folder, [1000])
        track.close("finished")
    first = [trial(n, folder, "complete", 1000, 5.0) for n, folder in enumerate(folders)]
    synced = sync_study(summary(tmp_path), first, uri=store, experiment="sagan")
    kept, former = synced.run_ids["000-s0"], synced.run_ids["001-s0"]

    retire_trials(store, [kept, former])
    client, runs = runs_of(store, "sagan")
    assert set(runs) == {"study"}
    # Of the new one the only trial is what trial 0 of the old one was.
    anew = summary(tmp_path, identity="ba9876543210", params={"searcher": "random"})
    again = [trial(7, folders[0], "complete", 1000, 5.0)]
    assert sync_study(anew, again, uri=store, experiment="sagan").run_ids == {"007-s0": kept}
    client, runs = runs_of(store, "sagan")
    assert runs["007-s0"].info.run_id == kept
    assert "trial" not in client.get_run(former).data.tags
    assert client.get_run(former).data.tags["former_trial"] == "001-s0"
    found = client.search_runs([runs["007-s0"].info.experiment_id], "tags.role = 'study'")
    assert {run.data.params["searcher"] for run in found} == {"tpe", "random"}


def test_runs_that_cannot_be_retired_are_a_warning(store, capsys):
    retire_trials(store, ["0" * 32])
    assert "still shows earlier trials beside the new ones" in capsys.readouterr().err


def test_mlflow_still_reads_the_view_of_a_study():
    """The tag and the query parameter are private: names in the code of MLflow's page."""
    folder = Path(mlflow.__file__).parent / "server" / "js" / "build" / "static" / "js"
    code = [path.read_bytes() for path in folder.glob("*.js")]
    for name in (b"mlflow.sharedViewState", b"viewStateShareKey"):
        assert any(name in part for part in code), (
            f"MLflow {mlflow.__version__} has no {name.decode()}: see study_experiment.py, whose "
            "view of a study it does not show"
        )
