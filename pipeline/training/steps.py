"""One update of each network; plain functions that return detached metrics on the device.

A batch larger than `part` images goes through in parts whose gradients add up, for devices that
are too small for all of it.
"""

from collections.abc import Iterator

import torch

from models.augmentation import augment
from models.gradient_penalty import gradient_penalty
from models.losses import ADVERSARIAL_LOSSES, classification
from pipeline.training.draws import DDraws, GDraws
from pipeline.training.settings import TrainSettings
from pipeline.training.state import TrainState

Metrics = dict[str, torch.Tensor]


def d_step(
    settings: TrainSettings,
    state: TrainState,
    real: torch.Tensor,
    labels: torch.Tensor,
    draws: DDraws,
    lr: float,
    part: int | None = None,
) -> Metrics:
    """Updates D on real images (B, C, R, R) with labels (B,) and on as many generated ones.

    One power iteration for each update, one forward pass over both (D has no batch statistics).
    """
    if state.D.spectral is not None:
        state.D.spectral.power_iteration()
    parts = []
    for rows, last in _parts(len(real), part):
        with state.d.accumulating(last):
            loss, metrics = _d_loss(settings, state, real[rows], labels[rows], draws.part(rows))
            (loss * (len(real[rows]) / len(real))).backward()
        parts.append({"loss/d": loss, **metrics})
    metrics = _means(parts)
    state.d.update(state.nimg, lr, metrics["loss/d"])
    return metrics


def g_step(
    settings: TrainSettings, state: TrainState, draws: GDraws, lr: float, part: int | None = None
) -> Metrics:
    """Updates G on a batch of latents and labels; D's weights get no gradients."""
    if state.G.spectral is not None:
        state.G.spectral.power_iteration()
    state.D.requires_grad_(False)
    parts = []
    for rows, last in _parts(len(draws.y), part):
        with state.g.accumulating(last):
            loss, metrics = _g_loss(settings, state, draws.part(rows))
            (loss * (len(draws.y[rows]) / len(draws.y))).backward()
        parts.append({"loss/g": loss, **metrics})
    state.D.requires_grad_(True)
    metrics = _means(parts)
    state.g.update(state.nimg, lr, metrics["loss/g"])
    return metrics


def _d_loss(
    settings: TrainSettings,
    state: TrainState,
    real: torch.Tensor,
    labels: torch.Tensor,
    draws: DDraws,
) -> tuple[torch.Tensor, Metrics]:
    with torch.no_grad():
        fake = state.G(draws.z, draws.y)
    metrics = {"variety/real": _variety(real), "variety/fake": _variety(fake)}
    if draws.flip is not None:
        real = torch.where(draws.flip[:, None, None, None], real.flip(3), real)
    real = _augment(settings, real, draws.augment_real)
    fake = _augment(settings, fake, draws.augment_fake)
    logits, class_logits = state.d(torch.cat([real, fake]), torch.cat([labels, draws.y]))  # (2B,)
    real_logits, fake_logits = logits.split([len(real), len(fake)])
    metrics |= {"logits/real": real_logits.mean(), "logits/fake": fake_logits.mean()}
    loss = ADVERSARIAL_LOSSES[settings.loss].d(real_logits, fake_logits)
    if class_logits is not None:
        real_classes, fake_classes = class_logits.split([len(real), len(fake)])
        metrics["loss/d_class_real"] = classification(real_classes, labels)
        metrics["loss/d_class_fake"] = classification(fake_classes, draws.y)
        class_loss = metrics["loss/d_class_real"] + metrics["loss/d_class_fake"]
        loss = loss + settings.class_loss_weight * class_loss
    if draws.mixture is not None:
        penalty = gradient_penalty(state.d, real, fake, labels, draws.mixture)
        metrics["loss/gradient_penalty"] = penalty
        loss = loss + settings.gp_weight * penalty
    return loss, metrics


def _g_loss(
    settings: TrainSettings, state: TrainState, draws: GDraws
) -> tuple[torch.Tensor, Metrics]:
    fake = _augment(settings, state.g(draws.z, draws.y), draws.augment)
    logits, class_logits = state.D(fake, draws.y)
    loss = ADVERSARIAL_LOSSES[settings.loss].g(logits)
    metrics = {}
    if class_logits is not None:
        metrics["loss/g_class"] = classification(class_logits, draws.y)
        loss = loss + settings.class_loss_weight * metrics["loss/g_class"]
    return loss, metrics


def _variety(images: torch.Tensor) -> torch.Tensor:
    """Mean over pixels of the standard deviation over the batch: 0 when all images are one."""
    return images.std(dim=0, correction=0).mean()


def _augment(
    settings: TrainSettings, images: torch.Tensor, draws: torch.Tensor | None
) -> torch.Tensor:
    return images if draws is None else augment(images, draws, settings.diffaugment)


def _parts(count: int, part: int | None) -> Iterator[tuple[slice, bool]]:
    """Slices of at most `part` rows, each with whether it is the last."""
    size = count if part is None else part
    for start in range(0, count, size):
        yield slice(start, start + size), start + size >= count


def _means(parts: list[Metrics]) -> Metrics:
    return {
        name: torch.stack([metrics[name].detach() for metrics in parts]).mean() for name in parts[0]
    }
