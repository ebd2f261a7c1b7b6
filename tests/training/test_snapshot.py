"""What a snapshot holds, and what `load_generator` refuses."""

import copy
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from models.ema import update_ema
from models.generator import Generator
from models.normalization import ClassTable
from models.spectral_norm import SpectralLayer
from pipeline import load_generator
from pipeline.core.errors import UserError
from pipeline.core.randomness import generator_at
from pipeline.training.snapshot import prepare_for_sampling, write_snapshot
from tests.support.tiny_run import TINY

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


def test_averaged_weights_get_singular_vectors_of_their_own(G):
    """An average of weights has copied vectors; in a snapshot every norm is 1 nevertheless."""
    other = Generator(TINY.generator)
    other.initialize(generator_at(1, "test"))
    average = copy.deepcopy(G)
    update_ema(average, other, num_images=1, halflife_nimg=1)  # half of each, other's vectors
    sampled = prepare_for_sampling(average, seed=0, nimg=5, batch=16)
    norms, stale = [], []
    with average.spectral.applied():
        for name, layer in average.named_modules():
            if isinstance(layer, SpectralLayer) and not isinstance(layer, ClassTable):
                stale.append(_norm(layer.effective_weight()))
                norms.append(_norm(sampled.get_submodule(name).weight))
    assert max(stale) > 1.1
    assert max(abs(norm - 1) for norm in norms) < 0.05


def _norm(weight: torch.Tensor) -> float:
    return torch.linalg.svdvals(weight.detach().flatten(1).double())[0].item()


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


def test_public_face_of_a_snapshot(G, tmp_path):
    write_snapshot(tmp_path / "g.safetensors", prepare_for_sampling(G, 0, 5, 16), FACTS)
    loaded = load_generator(tmp_path / "g.safetensors")
    z = loaded.latents(200, seed=3)
    assert torch.equal(z, loaded.latents(200, seed=3))
    assert loaded.latents(200, seed=3, truncation=0.5).abs().max() <= 0.5
    assert z.abs().max() > 2

    path = loaded.interpolate_latents(z[0], z[1], label=3, num=5)
    ends = loaded(z[:2], torch.tensor([3, 3]))
    torch.testing.assert_close(path[[0, -1]], ends)
    assert not torch.allclose(path[2], path[0], atol=1e-3)

    blend = loaded.interpolate_classes(z[0], 2, 7, num=5)
    ends = loaded(z[:1].expand(2, -1), torch.tensor([2, 7]))
    torch.testing.assert_close(blend[[0, -1]], ends)
    with pytest.raises(ValueError, match=r"class weights y have shape \(1, 3\), not \(1, 10\)"):
        loaded(z[:1], torch.zeros(1, 3))
    with pytest.raises(ValueError, match=r"truncation = 0; it should be above 0"):
        loaded.latents(1, truncation=0)


def test_truncated_generator_has_statistics_of_truncated_latents(G, tmp_path):
    write_snapshot(tmp_path / "g.safetensors", prepare_for_sampling(G, 0, 5, 16), FACTS)
    loaded = load_generator(tmp_path / "g.safetensors")
    before = loaded.norm.standing_var.clone()
    calm = loaded.truncated(0.3)
    assert not calm.training
    assert torch.equal(loaded.norm.standing_var, before)
    first = "blocks.0.norm1"  # sees the latents themselves
    ratio = calm.get_submodule(first).standing_var / loaded.get_submodule(first).standing_var
    assert ratio.max() < 0.2  # a normal truncated at 0.3 has a variance of 0.03
