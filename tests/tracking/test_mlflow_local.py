"""The sync to a SQLite store: the right steps, one MLflow run for one run folder."""

import json

import pytest

from pipeline.tracking.connection import connect
from pipeline.tracking.jsonl import read_stats
from tests.support.tracked_runs import DATASET, image_steps, points, the_run, track

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning",
)


def test_run_shows_metrics_images_params_tags_and_dataset(tmp_path, store, capfd):
    track(tmp_path / "run", store, [1000, 2000])
    client, run = the_run(store)
    assert points(client, run) == [(1000, 1.0), (2000, 2.0)]
    records, _ = read_stats(tmp_path / "run" / "stats.jsonl")
    history = client.get_metric_history(run.info.run_id, "loss/g")
    assert [m.timestamp for m in history] == [round(r.time * 1000) for r in records]
    assert image_steps(client, run) == [1000, 2000]
    assert run.data.params == {
        "train/g_lr": "0.0002",
        "train/total_kimg": "8",
        "model/attention": "[16]",
    }
    assert run.data.tags["run_key"] == "k1"
    assert run.data.tags["git_commit"] == "c0ffee"
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "digits-k1"
    (used,) = run.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("digits", DATASET.digest[:36])
    assert 0 < run.data.metrics["system/system_memory_usage_percentage"] <= 100
    assert (tmp_path / "mlartifacts" / "sagan" / run.info.run_id).is_dir()
    assert capfd.readouterr() == ("", "")


def test_resumed_run_continues_the_same_mlflow_run(tmp_path, store):
    track(tmp_path / "run", store, [1000, 2000, 3000], outcome="preempted")
    client, run = the_run(store)
    assert run.info.status == "KILLED"
    # Back to the checkpoint at 1000, and on to the end.
    track(tmp_path / "run", store, [2000, 3000, 4000])
    client, run = the_run(store)
    assert points(client, run) == [(n * 1000, float(n)) for n in (1, 2, 3, 4)]
    assert image_steps(client, run) == [1000, 2000, 3000, 4000]
    assert run.info.status == "FINISHED"
    assert len(run.inputs.dataset_inputs) == 1


def test_every_length_of_a_run_is_an_mlflow_run_with_its_own_history(tmp_path, store):
    track(tmp_path / "run", store, [1000, 2000], total_kimg=2)
    track(tmp_path / "run", store, [3000, 4000], total_kimg=4)
    track(tmp_path / "run", store, [], total_kimg=3)
    client = connect(store)
    experiment = client.get_experiment_by_name("sagan")
    runs = client.search_runs([experiment.experiment_id])
    assert {run.data.params["train/total_kimg"] for run in runs} == {"2", "3", "4"}
    for run in runs:
        total_kimg = int(run.data.params["train/total_kimg"])
        assert run.data.tags["total_nimg"] == str(total_kimg * 1000)
        assert points(client, run) == [(n * 1000, float(n)) for n in range(1, total_kimg + 1)]
        assert image_steps(client, run) == [n * 1000 for n in range(1, total_kimg + 1)]


def test_lost_progress_shows_nothing_twice(tmp_path, store):
    track(tmp_path / "run", store, [1000, 2000], outcome="failed")
    (path,) = (tmp_path / "run").glob("mlflow-*.json")
    content = json.loads(path.read_text())
    del content["progress"]["sent_nimg"]["metrics"]  # killed between the request and the save
    path.write_text(json.dumps(content))
    track(tmp_path / "run", store, [3000])
    client, run = the_run(store)
    assert points(client, run) == [(1000, 1.0), (2000, 2.0), (3000, 3.0)]
    assert image_steps(client, run) == [1000, 2000, 3000]


@pytest.mark.parametrize("damage", ["deleted in MLflow", "identity torn"])
def test_a_missing_run_is_created_again_with_all_records(tmp_path, store, damage):
    track(tmp_path / "run", store, [1000])
    client, run = the_run(store)
    client.delete_run(run.info.run_id)
    if damage == "identity torn":
        (path,) = (tmp_path / "run").glob("mlflow-*.json")
        path.write_bytes(path.read_bytes()[:50])
    track(tmp_path / "run", store, [2000])
    client, run = the_run(store)
    assert points(client, run) == [(1000, 1.0), (2000, 2.0)]


def test_torn_and_unknown_lines_do_not_stop_the_sync(tmp_path, store):
    track(tmp_path / "run", store, [1000], outcome="failed")
    with (tmp_path / "run" / "stats.jsonl").open("ab") as file:
        file.write(b'nonsense\n{"type": "later", "nimg": 5}\n{"type": "metr')
    track(tmp_path / "run", store, [2000])
    client, run = the_run(store)
    assert points(client, run) == [(1000, 1.0), (2000, 2.0)]
