"""Evaluations during training: they are recorded once each and change no weight."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.core.errors import Preempted
from pipeline.data.shards.reader import Dataset
from pipeline.evaluation import small_protocol
from pipeline.evaluation.executor import ParallelExecutor
from pipeline.evaluation.extractors.weights import WeightSources
from pipeline.evaluation.reference.compute import make_references
from pipeline.evaluation.reference.folder import open_references
from pipeline.evaluation.small_protocol import SmallProtocol
from pipeline.runs.outputs import Evaluate
from pipeline.runs.train import run_training
from pipeline.tracking.jsonl import STATS_NAME, JsonlTracker, read_stats
from pipeline.training.generator import load_generator
from tests.support.tiny_run import RUNTIME, TINY
from tests.support.weights import assert_equal_weights

KEY = "fid2k_dataset_cnn"


@pytest.fixture(scope="module")
def reference(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reference statistics of the digits; read them only."""
    folder = tmp_path_factory.mktemp("real") / "reference"
    make_references(
        digits,
        folder,
        extractors=["dataset-cnn"],
        sources=WeightSources(),
        cnn_epochs=1,
        seed=0,
        device="cpu",
    )
    return folder


@pytest.fixture
def protocol(reference: Path, digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> SmallProtocol:
    """The real thing on fewer images."""
    monkeypatch.setattr(small_protocol, "NUM_SAMPLES", 120)
    extractors, references = open_references(
        reference,
        digits.manifest,
        ["dataset-cnn"],
        WeightSources(),
        "cpu",
        ParallelExecutor.on("cpu"),
    )
    return SmallProtocol(extractors=extractors, references=references, device="cpu")


@pytest.fixture
def train(digits: Dataset, tmp_path: Path) -> Callable[..., Path]:
    """Trains TINY in a folder and returns the export."""

    def train(folder: str, evaluate: Evaluate | None, eval_kimg: float | None = 0.064) -> Path:
        out = tmp_path / folder / "model"
        run_training(
            TINY,
            digits,
            replace(RUNTIME, eval_kimg=eval_kimg),
            runs_dir=tmp_path / folder / "runs",
            out=out,
            open_tracker=lambda run_dir, run_key: JsonlTracker(run_dir),
            evaluate=evaluate,
        )
        return out

    return train


def _points(out: Path) -> dict[int, float]:
    records, _ = read_stats(out / STATS_NAME)
    return {r.nimg: r.metrics[KEY] for r in records if KEY in r.metrics}


def test_weights_and_run_are_those_of_a_run_without(
    train: Callable[..., Path], protocol: SmallProtocol, tmp_path: Path
) -> None:
    with_it, without = train("with", protocol), train("without", None, None)
    assert_equal_weights(with_it, without)
    for name in ("G", "D", "G_ema"):
        first, second = (
            torch.load(max((tmp_path / folder).glob("runs/*/checkpoints/*.pt")), weights_only=True)[
                name
            ]
            for folder in ("with", "without")
        )
        assert all(torch.equal(first[key], second[key]) for key in first)
    assert _points(without) == {}
    assert list(_points(with_it)) == [64, 128, 160]  # and at the end
    keys = {path.name for path in tmp_path.glob("*/runs/*")}
    assert len(keys) == 1
    grids = [out.parent.glob("model/samples/*.png") for out in (with_it, without)]
    assert [p.read_bytes() for p in sorted(grids[0])] == [p.read_bytes() for p in sorted(grids[1])]


def test_the_number_is_that_of_the_snapshot(
    train: Callable[..., Path], protocol: SmallProtocol
) -> None:
    out = train("a", protocol)
    G = load_generator(out / "generator.safetensors")
    assert protocol(G, 160) == {KEY: _points(out)[160]}
    assert protocol.keys == (KEY,)
    entry = protocol.protocols[KEY]
    assert (entry["num_generated"], entry["seed"], entry["num_real"]) == (120, 2000, 1426)


def test_a_resumed_run_has_every_point_once(
    train: Callable[..., Path],
    protocol: SmallProtocol,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = _points(train("whole", protocol))
    asked = []

    def reason(self: object) -> str | None:
        asked.append(1)
        return "SIGTERM" if len(asked) == 8 else None

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.distributed.stopping.Interruption.reason", reason)
        with pytest.raises(Preempted):
            train("cut", protocol)
    assert _points(train("cut", protocol)) == expected
    (stats,) = (tmp_path / "cut").glob(f"runs/*/{STATS_NAME}")
    assert stats.read_text().count(KEY) == len(expected)
