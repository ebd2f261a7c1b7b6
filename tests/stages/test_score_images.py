"""Images of any origin through the command line."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.data.shards.reader import open_dataset
from pipeline.evaluation.extractors.weights import WeightSources
from pipeline.evaluation.reference.compute import make_references
from stages.evaluate import main
from tests.support.forks import run_command
from tests.support.image_containers import write_flat, write_npz
from tests.support.subjects import write_stripes


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with shards, their reference statistics and external images; read it only."""
    root = tmp_path_factory.mktemp("lab")
    write_stripes(root / "data" / "shards", num_classes=2)
    dataset = open_dataset(root / "data" / "shards")
    make_references(
        dataset,
        root / "data" / "reference",
        extractors=["dataset-cnn"],
        sources=WeightSources(),
        cnn_epochs=1,
        seed=0,
        device="cpu",
    )
    images = dataset.train.gather(np.arange(len(dataset.train)))
    write_npz(root / "theirs", images, dataset.train.labels, ("left", "middle"))
    write_flat(root / "flat", images[::2], dataset.train.labels[::2], ("left", "middle"))
    return root


def _files(root: Path) -> set[Path]:
    return set(root.rglob("*"))


def test_json_is_all_that_comes_of_it(lab: Path) -> None:
    before = _files(lab)
    run = run_command(lab, "stages.evaluate", "--images", "theirs.npz", "--json")
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found.keys() == {"metrics", "protocol"}
    assert found["metrics"].keys() == found["protocol"].keys()
    assert abs(found["metrics"]["fid_dataset_cnn"]) < 1e-6
    assert found["protocol"]["fid_dataset_cnn"]["images"]["path"] == "theirs.npz"
    assert _files(lab) == before  # no MLflow, no params.yaml, no reports


def _main(monkeypatch: pytest.MonkeyPatch, lab: Path, *arguments: str) -> None:
    monkeypatch.chdir(lab)
    monkeypatch.setattr(sys, "argv", ["evaluate", *arguments])
    main()


def test_a_table_and_the_files_that_are_asked_for(
    lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics, protocol = tmp_path / "metrics.json", tmp_path / "protocol.json"
    files = ["--metrics", str(metrics), "--protocol", str(protocol)]
    _main(monkeypatch, lab, "--images", "flat", "--against", "theirs.npz", *files)
    written = json.loads(metrics.read_text())
    assert written.keys() == json.loads(protocol.read_text()).keys()
    printed = capsys.readouterr()
    assert f"{written['fid_dataset_cnn']:.4f}" in printed.out
    assert "flat: metrics by class are left out; labels: none: the images have none" in printed.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", "flat", "--model", "data/model"], "--images and --model exclude each other"),
        (["--images", "flat", "--samples", "x"], "--images and --samples exclude each other"),
        (["--images", "flat", "--metrics", "x.json"], "--metrics and --protocol belong together"),
        (
            ["--images", "flat", "--against", "flat", "--shards", "data/shards"],
            "--against and --shards exclude each other",
        ),
        (["--images", "flat", "--resize", "0"], "--resize 0 is no size"),
        (["--images", "flat", "--resize", "64"], "--resize 64 differs from the data set's 32x32"),
        (["--images", "flat", "--extractor", "dataset-cmm"], "nearest is 'dataset-cnn'"),
        (["--images", "nowhere"], "--images: nowhere does not exist; expected a folder of images"),
        (["--images", "flat", "--against", "nowhere"], "--against: nowhere does not exist"),
        (["--images", ""], "--images is empty; name a folder or a file of images"),
        (["--against", "flat"], "--against is for --images PATH"),
    ],
)
def test_mistakes_are_one_sentence(
    lab: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    before = _files(lab)
    with pytest.raises(UserError) as caught:
        _main(monkeypatch, lab, *arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert _files(lab) == before


def test_help_says_what_can_be_scored(
    lab: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as done:
        _main(monkeypatch, lab, "--help")
    assert done.value.code == 0
    text = capsys.readouterr().out
    for part in ("--images PATH", "one folder a class", "arr_0 uint8 [N, H, W, C]", "or .npy"):
        assert part in text
