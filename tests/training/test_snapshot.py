"""What a snapshot holds, and what `load_generator` refuses."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from models.generator import Generator
from pipeline import load_generator
from pipeline.errors import UserError
from pipeline.training.randomness import generator_at
from pipeline.training.snapshot import prepare_for_sampling, write_snapshot
from tests.training.conftest import TINY

FACTS = {"class_names": [f"<{i}>/é" for i in range(10)], "nimg": 5, "ema": True}


@pytest.fixture
def G() -> Generator:
    G = Generator(TINY.generator)
    G.initialize(generator_at(0, "test"))
    return G


def test_snapshot_samples_like_the_network_in_training(G, tmp_path):
    sampled = prepare_for_sampling(G, seed=0, nimg=5, batch=64)
    write_snapshot(tmp_path / "g.safetensors", sampled, FACTS)
    loaded = load_generator(tmp_path / "g.safetensors")
    assert loaded.class_names == tuple(FACTS["class_names"])
    assert not loaded.training
    z, y = torch.randn(256, 8, generator=generator_at(0, "z")), torch.arange(256) % 10
    assert torch.equal(loaded(z, y), sampled(z, y))
    # A batch of this size has nearly the standing statistics, and its spectral norm is one.
    assert (loaded(z, y) - G(z, y)).abs().mean() < 0.1 * G(z, y).std()
    torch.testing.assert_close(loaded(z[:3], y[:3]), loaded(z, y)[:3])


def test_same_weights_make_the_same_bytes(G, tmp_path):
    for name in ("a", "b"):
        sampled = prepare_for_sampling(G, seed=0, nimg=5, batch=16)
        write_snapshot(tmp_path / name, sampled, FACTS)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def _pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps({"weights": [1]}))


def _foreign(path: Path) -> None:
    save_file({"a": torch.zeros(2)}, path)


def _truncated(path: Path) -> None:
    G = Generator(TINY.generator)
    write_snapshot(path, G, FACTS)
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("make", [_pickled, _foreign, _truncated])
def test_file_that_is_no_snapshot_is_refused(make, tmp_path):
    path = tmp_path / "generator.safetensors"
    make(path)
    with pytest.raises(UserError, match=r"generator\.safetensors is not an? (intact )?generator"):
        load_generator(path)


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"does not exist; `dvc repro train` exports"):
        load_generator(tmp_path / "generator.safetensors")


@pytest.mark.parametrize(
    ("z", "y", "words"),
    [
        (torch.zeros(2, 9), torch.zeros(2).long(), r"z has shape \(2, 9\); it should be \(B, 8\)"),
        (torch.zeros(2, 8), torch.zeros(3).long(), r"y has shape \(3,\)"),
        (torch.zeros(1, 8), torch.tensor([10]), r"labels in y should be in 0\.\.9"),
        (torch.zeros(1, 8), torch.tensor([-1]), r"labels in y should be in 0\.\.9"),
    ],
)
def test_wrong_inputs_are_told(G, tmp_path, z, y, words):
    write_snapshot(tmp_path / "g.safetensors", prepare_for_sampling(G, 0, 5, 16), FACTS)
    with pytest.raises(ValueError, match=words):
        load_generator(tmp_path / "g.safetensors")(z, y)
