"""A study whose MLflow server is killed during training and restarted after the study."""

import pytest

from pipeline.tracking.connection import connect
from tests.support.mlflow_server import Server
from tests.support.study_project import METRIC
from tests.support.tracked_runs import points

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning",
    ),
]


@pytest.fixture
def server(tmp_path):
    connect(f"sqlite:///{tmp_path / 'server.db'}")
    server = Server(tmp_path)
    server.start()
    yield server
    server.kill()


def _runs(server):
    client = connect(server.uri)
    (experiment,) = client.search_experiments(filter_string="name LIKE '%-small'")
    return client, client.search_runs([experiment.experiment_id])


def test_the_same_command_sends_what_a_dead_server_missed(
    make_project, joined, server, monkeypatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    project = make_project("tracked", space={"train.g_lr": {"grid": [1e-4, 4e-4, 1.6e-3]}})
    project.change("runtime", tracker="mlflow")
    process = project.start()
    project.wait_for(lambda: project.events("end"))
    server.kill()
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    print(output)
    assert "did not take all of the study" in output
    assert "Traceback" not in output
    table = project.table()
    assert [row[3] for row in table] == ["complete"] * 3
    journal = project.events("report")

    server.start()
    output = project.finish()
    assert "small is finished" in output
    assert "did not take all" not in output
    assert project.table() == table
    assert project.events("report") == journal
    client, runs = _runs(server)
    trials = {run.data.tags["trial"]: run for run in runs if "trial" in run.data.tags}
    assert len(runs) == 4
    assert {run.info.status for run in runs} == {"FINISHED"}
    for trial in project.results()["trials"]:
        run = trials[trial["id"]]
        assert run.info.run_id == trial["mlflow_run_id"]
        assert run.data.tags["study"] == "small"
        assert run.data.tags["trial_status"] == "complete"
        assert float(run.data.params["config/g_lr"]) == trial["config"]["train.g_lr"]
        assert points(client, run, METRIC) == [
            (round(1000 * kimg), pytest.approx(value)) for kimg, value in trial["reports"]
        ]
        assert points(client, run, "study/value") == [(480, pytest.approx(trial["value"]))]
        assert client.list_artifacts(run.info.run_id, "images")
    (study,) = [run for run in runs if "trial" not in run.data.tags]
    files = {file.path for file in client.list_artifacts(study.info.run_id)}
    assert {"results.json", "index.html", "pictures"} <= files
