"""Several snapshots of a run: their curve, the best of them, and what is not done twice."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import UserError
from pipeline.data.shards.manifest import Manifest
from pipeline.evaluation.extractors.weights import WeightSources
from pipeline.evaluation.series import Point, Series, score_series
from pipeline.runs.snapshot_search import find_snapshots
from tests.support import evaluation_run
from tests.support.evaluated_models import Prepared
from tests.support.evaluation_run import evaluate
from tests.support.forks import run_command
from tests.support.subjects import RUN_KEY, write_stripes, write_untrained

KEY = "fid_dataset_cnn"
SETTINGS = evaluation_run.SETTINGS.model_copy(update={"selection_samples": 30, "selection_seed": 8})


def _write_snapshots(folder: Path, manifest: Manifest) -> list[Path]:
    """Averaged and raw snapshots at three points of a run."""
    paths = []
    for nimg in (640, 80, 1000):
        for kind, ema in (("generator", True), ("generator-raw", False)):
            path = folder / f"{kind}-{nimg:09d}.safetensors"
            write_untrained(path, manifest, seed=nimg + ema, nimg=nimg, ema=ema)
            paths += [path] if ema else []
    return paths


@pytest.fixture(scope="module")
def snapshots(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder of snapshots; read it only."""
    folder = tmp_path_factory.mktemp("runs") / "runs" / RUN_KEY[:12] / "snapshots"
    _write_snapshots(folder, prepared.manifest)
    return folder


@pytest.fixture
def score(prepared: Prepared, snapshots: Path, tmp_path: Path) -> Callable[..., Any]:
    """Scores the snapshots; gives the series and what was scored for it."""

    def score(**changes: Any) -> tuple[Series, list[Point]]:
        fresh: list[Point] = []
        arguments: dict[str, Any] = {
            "snapshots": find_snapshots(str(snapshots), Path(), Path()),
            "reference_dir": prepared.reference,
            "manifest": prepared.manifest,
            "out": tmp_path / "series.json",
            "extractors": ["dataset-cnn"],
            "sources": WeightSources(),
            "settings": SETTINGS,
            "device": "cpu",
            "on_point": fresh.append,
            **changes,
        }
        series = score_series(**arguments)
        assert series is not None
        return series, fresh

    return score


def test_the_best_is_chosen_on_one_seed_and_reported_on_another(
    score: Callable[..., Any], prepared: Prepared, snapshots: Path, tmp_path: Path
) -> None:
    series, fresh = score()
    assert [point.nimg for point in series.points] == [80, 640, 1000]
    assert fresh == list(series.points)
    values = [point.metrics[KEY] for point in series.points]
    assert len(set(values)) == 3
    assert series.best.metrics[KEY] == min(values)
    entry, reported = series.protocol[KEY], series.reported.protocol[KEY]
    assert (entry["seed"], entry["num_generated"]) == (8, 30)
    assert (reported["seed"], reported["num_generated"]) == (SETTINGS.seed, 125)
    assert reported["nimg"] == series.best.nimg
    # An evaluation of that snapshot alone says the same of it.
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    for name in ("generator", "generator-raw"):
        source = snapshots / f"generator-{series.best.nimg:09d}.safetensors"
        (model / f"{name}.safetensors").write_bytes(source.read_bytes())
    metrics = evaluate(prepared, tmp_path / "out", model_dir=model)
    assert series.reported.metrics[KEY] == metrics[KEY] != series.best.metrics[KEY]

    content = json.loads((tmp_path / "series.json").read_text())
    assert content == json.loads(json.dumps(series.as_json()))
    with (tmp_path / "series.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(float(r["kimg"]), float(r[KEY])) for r in rows] == [
        (point.nimg / 1000, point.metrics[KEY]) for point in series.points
    ]


def test_what_was_scored_in_the_same_way_is_not_scored_again(
    score: Callable[..., Any], snapshots: Path, tmp_path: Path
) -> None:
    first, _ = score(snapshots=sorted(snapshots.glob("generator-0*0.safetensors"))[:2])
    series, fresh = score()
    assert [point.nimg for point in fresh] == [1000]
    assert list(series.points[:2]) == list(first.points)
    again, fresh = score()
    assert (again, fresh) == (series, [])
    reseeded = SETTINGS.model_copy(update={"selection_seed": 9})
    _, fresh = score(settings=reseeded)
    assert len(fresh) == 3
    other, fresh = score(settings=reseeded.model_copy(update={"seed": 77}))
    assert fresh == []
    assert other.reported.protocol[KEY]["seed"] == 77


@pytest.mark.parametrize("content", ["{", "[]", '{"protocol": 1}', '{"format": 1, "points": {}}'])
def test_a_damaged_file_is_made_anew(
    score: Callable[..., Any], tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "series.json").write_text(content)
    series, fresh = score()
    assert len(fresh) == len(series.points) == 3
    assert f"{tmp_path / 'series.json'} is damaged" in capsys.readouterr().err


def test_what_a_user_means_by_snapshots(snapshots: Path, tmp_path: Path) -> None:
    runs = snapshots.parents[1]
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"run_key": RUN_KEY}))
    averaged = [snapshots / f"generator-{nimg:09d}.safetensors" for nimg in (80, 640, 1000)]
    assert find_snapshots("all", model, runs) == averaged
    assert find_snapshots(str(snapshots), model, runs) == averaged
    raw = snapshots / "generator-raw-000000080.safetensors"
    assert find_snapshots(str(raw), model, runs) == [raw]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nowhere", r"nowhere does not exist; --snapshots takes a snapshot's file, a folder"),
        ("empty", r"empty holds no snapshots \(generator-\*\.safetensors\)"),
        ("all", r"cdcdcdcdcdcd/snapshots does not exist: the run that made .* is not in runs"),
    ],
)
def test_a_mistaken_place_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("model").mkdir()
    Path("model/config.json").write_text(json.dumps({"run_key": "cd" * 32}))
    with pytest.raises(UserError, match=message):
        find_snapshots(place, Path("model"), Path("runs"))


def test_a_snapshot_of_other_classes_is_named(
    score: Callable[..., Any], snapshots: Path, tmp_path: Path
) -> None:
    manifest = write_stripes(tmp_path / "shards", num_classes=2)
    _write_snapshots(tmp_path / "others", manifest)
    stranger = tmp_path / "others" / "generator-000000080.safetensors"
    paths = [*find_snapshots(str(snapshots), Path(), Path()), stranger]
    message = (
        rf"{stranger} was made of another data set \({manifest.digest[:12]}, without 'right'\)"
    )
    with pytest.raises(UserError, match=message):
        score(snapshots=paths)
    assert not (tmp_path / "series.json").exists()


def test_the_stage_prints_one_object(prepared: Prepared, snapshots: Path, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(
        "evaluate: {num_samples: 30, selection_samples: 12, metrics: [fid], bootstrap: 0}\n"
        "runtime: {tracker: none}\n"
    )
    places = ("--reference", str(prepared.reference), "--shards", str(prepared.shards))
    done = run_command(
        tmp_path, "stages.evaluate", "--snapshots", str(snapshots), "--json", *places
    )
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed == json.loads((tmp_path / "reports" / "series.json").read_text())
    assert [point["nimg"] for point in printed["points"]] == [80, 640, 1000]
    assert printed["protocol"][KEY]["seed"] == 3000
    assert printed["reported"]["protocol"][KEY]["seed"] == 1000
    assert not (tmp_path / "mlflow.db").exists()
