"""One update of each network; plain functions that return detached metrics on the device.

A batch larger than `part` images is processed in parts whose gradients are accumulated, for devices
whose memory is too small for all of it.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Adam

from models.augmentation import augment
from models.losses import ADVERSARIAL_LOSSES, classification, gradient_penalty
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
        with _gradient_sync(state.D_ddp, last):
            loss, metrics = _d_loss(settings, state, real[rows], labels[rows], draws.part(rows))
            (loss * (len(real[rows]) / len(real))).backward()
        parts.append({"loss/d": loss, **metrics})
    metrics = _means(parts)
    state.D_nonfinite.check(state.nimg, metrics["loss/d"])
    _update(state.D_optimizer, lr)
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
        with _gradient_sync(state.G_ddp, last):
            loss, metrics = _g_loss(settings, state, draws.part(rows))
            (loss * (len(draws.y[rows]) / len(draws.y))).backward()
        parts.append({"loss/g": loss, **metrics})
    state.D.requires_grad_(True)
    metrics = _means(parts)
    state.G_nonfinite.check(state.nimg, metrics["loss/g"])
    _update(state.G_optimizer, lr)
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
    metrics = {"pixel_std/real": _pixel_std(real), "pixel_std/fake": _pixel_std(fake)}
    if draws.flip is not None:
        real = torch.where(draws.flip[:, None, None, None], real.flip(3), real)
    real = _augment(settings, real, draws.augment_real)
    fake = _augment(settings, fake, draws.augment_fake)
    logits, class_logits = state.D_ddp(
        torch.cat([real, fake]), torch.cat([labels, draws.y])
    )  # (2B,)
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
        penalty = gradient_penalty(state.D_ddp, real, fake, labels, draws.mixture)
        metrics["loss/gradient_penalty"] = penalty
        loss = loss + settings.gp_weight * penalty
    return loss, metrics


def _g_loss(
    settings: TrainSettings, state: TrainState, draws: GDraws
) -> tuple[torch.Tensor, Metrics]:
    fake = _augment(settings, state.G_ddp(draws.z, draws.y), draws.augment)
    logits, class_logits = state.D(fake, draws.y)
    loss = ADVERSARIAL_LOSSES[settings.loss].g(logits)
    metrics = {}
    if class_logits is not None:
        metrics["loss/g_class"] = classification(class_logits, draws.y)
        loss = loss + settings.class_loss_weight * metrics["loss/g_class"]
    return loss, metrics


def _gradient_sync(network: nn.Module, last: bool) -> AbstractContextManager[None]:
    """Context of one part's forward and backward: DDP averages gradients in the last part's."""
    if last or not isinstance(network, DistributedDataParallel):
        return nullcontext()
    return network.no_sync()


def _update(optimizer: Adam, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _pixel_std(images: torch.Tensor) -> torch.Tensor:
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
