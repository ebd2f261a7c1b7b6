"""A training as the tracker sees it, and what MLflow shows of it."""

from PIL import Image

from pipeline.tracking.connection import connect
from pipeline.tracking.mlflow import MlflowTracker
from pipeline.tracking.run_description import DatasetInfo, RunDescription, flatten

DATASET = DatasetInfo(name="digits", digest="d1" * 32, source="data/shards")


def start(run_dir, uri, *, run_key="k1", total_kimg=8, close_s=60.0):
    """A tracker as the train stage opens it."""
    params = {"train": {"g_lr": 2e-4, "total_kimg": total_kimg}, "model": {"attention": [16]}}
    description = RunDescription(
        run_name=f"digits-{run_key}",
        total_nimg=total_kimg * 1000,
        params=flatten(params),
        tags={"run_key": run_key, "git_commit": "c0ffee"},
        dataset=DATASET,
    )
    return MlflowTracker(run_dir, description, uri=uri, experiment="sagan", close_s=close_s)


def report(tracker, run_dir, nimgs):
    """A status and a picture at each nimg."""
    for nimg in nimgs:
        tracker.log({"loss/d": nimg / 1000, "loss/g": -1.0}, nimg, nimg / 100)
        picture = run_dir / "samples" / f"samples-{nimg:09d}.png"
        picture.parent.mkdir(exist_ok=True)
        Image.new("L", (64, 32), nimg // 100).save(picture)
        tracker.image("samples", picture, nimg)


def track(run_dir, uri, nimgs, outcome="finished", **options):
    """One whole call of a training."""
    tracker = start(run_dir, uri, **options)
    report(tracker, run_dir, nimgs)
    tracker.close(outcome)


def the_run(uri, run_key="k1"):
    """A client and the only run of a key."""
    client = connect(uri)
    experiment = client.get_experiment_by_name("sagan")
    (run,) = client.search_runs([experiment.experiment_id], f"tags.run_key = '{run_key}'")
    return client, run


def points(client, run, name="loss/d"):
    """(step, value) of each point, as MLflow shows them."""
    return [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)]


def image_steps(client, run):
    """Steps of the logged pictures, sorted."""
    names = [file.path for file in client.list_artifacts(run.info.run_id, "images")]
    return sorted(int(n.split("+step+")[1].split("+")[0]) for n in names if n.endswith(".png"))
