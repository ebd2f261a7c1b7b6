"""Logging of later stages to the run of an exported model, and the registered model."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from models.configuration import GeneratorConfig
from models.generator import Generator
from pipeline.core.errors import UserError
from pipeline.core.images import to_uint8
from pipeline.storage.atomic import write_json
from pipeline.tracking.finished_run import open_run
from pipeline.tracking.jsonl import JsonlTracker
from pipeline.training.generator import load_generator
from pipeline.training.snapshot import write_snapshot
from tests.support.tracked_runs import image_steps, points, report, the_run, track

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning",
    "ignore:.*codecs.open. is deprecated:DeprecationWarning",
    # Raised and hidden by mlflow itself while it is imported.
    "ignore:.*Any type hint is inferred as AnyType:UserWarning",
)


@pytest.fixture
def model_dir(tmp_path):
    """An export of the train stage, from an untrained network."""
    folder = tmp_path / "model"
    config = GeneratorConfig(
        resolution=32,
        image_channels=1,
        num_classes=3,
        z_dim=8,
        width=2,
        attention=(16,),
        spectral_norm=False,
    )
    torch.manual_seed(0)
    facts = {"class_names": ["zero", "one", "2"], "run_key": "k1", "nimg": 2000, "ema": True}
    tracker = JsonlTracker(folder)
    report(tracker, folder, [1000, 2000])
    tracker.close("finished")
    write_snapshot(folder / "generator.safetensors", Generator(config), facts)
    description = {"dataset_name": "digits", "dataset_digest": "d1" * 32, **facts}
    description |= {"settings": {"seed": 0, "generator": {"width": 2}}}
    write_json(folder / "config.json", description)
    return folder


def open_here(model_dir, store, runs_dir=None, tracker="mlflow"):
    return open_run(model_dir, tracker=tracker, uri=store, experiment="sagan", runs_dir=runs_dir)


def test_evaluation_and_report_join_the_run_of_the_training(tmp_path, store, model_dir, capfd):
    track(tmp_path / "runs" / "k1", store, [1000, 2000], total_kimg=2)
    picture = tmp_path / "grid.png"
    Image.new("L", (32, 32)).save(picture)
    page = tmp_path / "index.html"
    page.write_text("<p>report")
    run = open_here(model_dir, store, tmp_path / "runs")
    run.log_evaluation(
        {"fid_dataset_cnn": 12.5, "fid": None}, files=[page], images={"class grid": picture}
    )
    run.log_report(page)
    run.log_series({1000: {"fid_dataset_cnn": 20.0}, 2000: {"fid_dataset_cnn": 12.0}})
    client, found = the_run(store)
    assert run.run_id == found.info.run_id
    assert points(client, found, "series/fid_dataset_cnn") == [(1000, 20.0), (2000, 12.0)]
    assert points(client, found, "eval/fid_dataset_cnn") == [(2000, 12.5)]
    assert "eval/fid" not in found.data.metrics
    assert image_steps(client, found) == [1000, 2000, 2000]
    assert [f.path for f in client.list_artifacts(found.info.run_id, "report")] == [
        "report/index.html"
    ]
    assert [f.path for f in client.list_artifacts(found.info.run_id, "evaluation")] == [
        "evaluation/index.html"
    ]
    assert found.info.status == "FINISHED"
    assert capfd.readouterr() == ("", "")


def test_run_trained_elsewhere_is_found_by_its_key(tmp_path, store, model_dir):
    track(tmp_path / "elsewhere", store, [1000, 2000], total_kimg=2)
    track(tmp_path / "another", store, [1000], run_key="k2", total_kimg=2)
    assert open_here(model_dir, store).run_id == the_run(store)[1].info.run_id


def test_export_without_a_run_gets_one_with_its_whole_history(tmp_path, store, model_dir):
    before = sorted(model_dir.rglob("*"))
    run = open_here(model_dir, store)
    client, found = the_run(store)
    assert run.run_id == found.info.run_id
    assert points(client, found) == [(1000, 1.0), (2000, 2.0)]
    assert image_steps(client, found) == [1000, 2000]
    assert found.data.params == {"settings/seed": "0", "settings/generator/width": "2"}
    assert found.info.status == "FINISHED"
    assert open_here(model_dir, store).run_id == run.run_id
    assert sorted(model_dir.rglob("*")) == before


def test_records_that_training_could_not_send_are_sent(tmp_path, store, model_dir):
    track(tmp_path / "runs" / "k1", store, [1000], outcome="finished", total_kimg=2)
    (path,) = (tmp_path / "runs" / "k1").glob("mlflow-*.json")
    content = json.loads(path.read_text())
    tracker = JsonlTracker(tmp_path / "runs" / "k1")
    report(tracker, tmp_path / "runs" / "k1", [2000])
    tracker.close("finished")
    content["progress"] |= {"outcome": "finished", "ended": False}
    path.write_text(json.dumps(content))
    open_here(model_dir, store, tmp_path / "runs")
    client, found = the_run(store)
    assert points(client, found) == [(1000, 1.0), (2000, 2.0)]
    assert found.info.status == "FINISHED"


LOAD = """
import sys
import mlflow, numpy, pandas
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/sagan-digits/1")
table = pandas.DataFrame({"label": ["one", 2, "0"], "seed": [7, 8, 7]})
numpy.save("images.npy", model.predict(table))
import pipeline
print(pipeline.__file__)
"""


def test_registered_generator_is_loaded_and_sampled_elsewhere(tmp_path, store, model_dir, capfd):
    run = open_here(model_dir, store)
    snapshot = model_dir / "generator.safetensors"
    assert run.register_generator(snapshot) == "models:/sagan-digits/1"
    assert run.register_generator(snapshot) == "models:/sagan-digits/1"
    assert capfd.readouterr() == ("", "")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    loaded = subprocess.run(
        [sys.executable, "-c", LOAD, store],
        cwd=elsewhere,
        check=True,
        capture_output=True,
        text=True,
    )
    # The code came with the version, not from this checkout.
    assert loaded.stdout.strip().startswith(str(tmp_path))
    images = np.load(elsewhere / "images.npy")
    assert images.dtype == np.uint8
    assert images.shape == (3, 32, 32, 1)
    G = load_generator(snapshot)
    z = torch.stack(
        [torch.randn(8, generator=torch.Generator().manual_seed(seed)) for seed in (7, 8, 7)]
    )
    expected = to_uint8(G(z, torch.tensor([1, 2, 0]))).permute(0, 2, 3, 1).numpy()
    assert np.abs(images.astype(int) - expected).max() <= 1


def test_absent_server_is_one_line_and_no_failure(tmp_path, model_dir, capfd):
    run = open_here(model_dir, "http://127.0.0.1:9")
    run.log_evaluation({"fid": 1.0})
    assert run.register_generator(model_dir / "generator.safetensors") is None
    assert run.run_id is None
    output, errors = capfd.readouterr()
    assert output == ""
    assert errors == (
        "mlflow at http://127.0.0.1:9 did not take the run: [Errno 111] Connection refused\n"
    )


def test_tracker_none_logs_nothing(tmp_path, model_dir, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    run = open_here(model_dir, None, tracker="none")
    run.log_evaluation({"fid": 1.0})
    assert run.run_id is None
    assert not (tmp_path / "mlflow.db").exists()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("content", [None, "{", "{}", "[]"])
def test_folder_without_a_model_is_a_user_error(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"config\.json .*dvc repro"):
        open_here(tmp_path, None, tracker="none")
