"""Random draws, intervals, meters and what a run shows."""

import io

import pytest
import torch

from pipeline.core.images import from_uint8, to_uint8
from pipeline.core.randomness import draw_inputs, generator_at
from pipeline.runs.progress import Progress
from pipeline.training.settings import is_due
from pipeline.training.status import RunningMeans


def test_draws_depend_on_seed_purpose_and_nimg_alone():
    def draw(*arguments):
        return torch.randn(4, generator=generator_at(*arguments))

    first = draw(1, "d-step", 64)
    torch.rand(3)  # the global generator plays no part
    assert torch.equal(first, draw(1, "d-step", 64))
    others = [draw(2, "d-step", 64), draw(1, "g-step", 64), draw(1, "d-step", 128)]
    assert not any(torch.equal(first, other) for other in others)


def test_inputs_are_normal_latents_and_uniform_labels():
    z, y = draw_inputs(generator_at(0, "test"), 20000, 8, 10)
    assert z.shape == (20000, 8)
    assert abs(z.mean().item()) < 0.01
    assert abs(z.std().item() - 1) < 0.01
    counts = torch.bincount(y, minlength=10)
    assert counts.min() > 1800
    assert counts.max() < 2200


@pytest.mark.parametrize("batch", [1, 16, 64, 1500])
def test_every_crossed_interval_is_due_once(batch):
    due = [nimg for nimg in range(0, 100 * batch + 1, batch) if is_due(nimg, batch, 1.0)]
    multiples = range(1000, 100 * batch + 1, 1000)
    assert due == sorted({-(-multiple // batch) * batch for multiple in multiples})


def test_conversions_round_trip_every_level():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1)
    images = from_uint8(levels)
    assert images.shape == (1, 1, 16, 16)
    assert (images.min(), images.max()) == (-1, 1)
    assert torch.equal(to_uint8(images)[0, 0], levels[0, :, :, 0])
    assert to_uint8(torch.tensor([[[[-1.5, 1.5, 0.001]]]])).flatten().tolist() == [0, 255, 128]


def test_means_are_since_the_last_reading():
    means = RunningMeans()
    for value in (1.0, 2.0, 6.0):
        means.add({"loss/d": torch.tensor(value)})
        means.add({"loss/g": torch.tensor(-value)})
    metrics = means.read(batch=4)
    assert (metrics["loss/d"], metrics["loss/g"]) == (3.0, -3.0)
    assert metrics["throughput/images_per_s"] > 0
    assert "loss/d" not in means.read(batch=4)


class _Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("stream", [io.StringIO(), _Terminal()])
def test_progress_shows_the_run(stream):
    progress = Progress(1000, 4000, stream)
    metrics = {"loss/d": 1.25, "loss/g": -0.5, "throughput/images_per_s": 321.4}
    progress.update(2000, metrics, elapsed_s=10.0)
    progress.close()
    shown = stream.getvalue()
    for words in ("2.0/4.0 kimg", "321 img/s", "loss D 1.25 G -0.50", "left"):
        assert words in shown
    assert ("\r" in shown) == stream.isatty()
    if not stream.isatty():
        assert "20 s left" in shown
