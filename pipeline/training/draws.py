"""The random inputs of one update: drawn for the global batch, of which a process takes its share.

Each kind has a purpose of its own, so that switching one on leaves the others as they were.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch

from models.augmentation import NUM_DRAWS
from pipeline.core.randomness import draw_inputs, generator_at
from pipeline.training.settings import TrainSettings


class DDraws(NamedTuple):
    """For an update of D; the last four are None where the settings need none."""

    z: torch.Tensor
    """(B, z_dim) float32."""
    y: torch.Tensor
    """(B,) int64: labels of the generated images."""
    flip: torch.Tensor | None
    """(B,) bool: which real images to mirror."""
    augment_real: torch.Tensor | None
    """(B, 7) in [0, 1), as `models.augmentation.augment` takes them."""
    augment_fake: torch.Tensor | None
    mixture: torch.Tensor | None
    """(B,) in [0, 1): where between real and generated the gradient penalty looks."""

    def part(self, rows: slice) -> "DDraws":
        """Those of some images of the batch."""
        return DDraws._make(None if draw is None else draw[rows] for draw in self)


class GDraws(NamedTuple):
    """For an update of G."""

    z: torch.Tensor
    y: torch.Tensor
    augment: torch.Tensor | None

    def part(self, rows: slice) -> "GDraws":
        """Those of some images of the batch."""
        return GDraws._make(None if draw is None else draw[rows] for draw in self)


def draw_for_d(
    settings: TrainSettings, nimg: int, device: str, share: slice = slice(None)
) -> DDraws:
    """What the update of D at `nimg` draws, on `device`."""
    z, y = _inputs(settings, "d-step", nimg)
    flip = mixture = augment_real = augment_fake = None
    if settings.flip:
        flip = _uniform(settings, "d-step/flip", nimg, 1)[:, 0] < 0.5
    if settings.diffaugment:
        augment_real = _uniform(settings, "d-step/augment-real", nimg, NUM_DRAWS)
        augment_fake = _uniform(settings, "d-step/augment-fake", nimg, NUM_DRAWS)
    if settings.loss == "wasserstein-gp":
        mixture = _uniform(settings, "d-step/mixture", nimg, 1)[:, 0]
    draws = DDraws(z, y, flip, augment_real, augment_fake, mixture)
    return DDraws._make(_placed(draws, device, share))


def draw_for_g(
    settings: TrainSettings, nimg: int, device: str, share: slice = slice(None)
) -> GDraws:
    """What the update of G at `nimg` draws, on `device`."""
    z, y = _inputs(settings, "g-step", nimg)
    augment = None
    if settings.diffaugment:
        augment = _uniform(settings, "g-step/augment", nimg, NUM_DRAWS)
    return GDraws._make(_placed((z, y, augment), device, share))


def _inputs(settings: TrainSettings, purpose: str, nimg: int) -> tuple[torch.Tensor, torch.Tensor]:
    config = settings.generator
    draws = generator_at(settings.seed, purpose, nimg)
    return draw_inputs(draws, settings.batch, config.z_dim, config.num_classes)


def _uniform(settings: TrainSettings, purpose: str, nimg: int, width: int) -> torch.Tensor:
    draws = generator_at(settings.seed, purpose, nimg)
    return torch.rand(settings.batch, width, generator=draws)


def _placed(
    draws: Iterable[torch.Tensor | None], device: str, share: slice
) -> Iterator[torch.Tensor | None]:
    for draw in draws:
        yield None if draw is None else draw[share].to(device, non_blocking=True)
