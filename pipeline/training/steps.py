"""One update of each network; plain functions that return detached metrics on the device."""

import torch

from models.augmentation import augment
from models.discriminator import Discriminator
from models.generator import Generator
from models.gradient_penalty import gradient_penalty
from models.losses import ADVERSARIAL_LOSSES, classification
from pipeline.training.draws import DDraws, GDraws
from pipeline.training.settings import TrainSettings

Metrics = dict[str, torch.Tensor]


def d_step(
    settings: TrainSettings,
    G: Generator,
    D: Discriminator,
    optimizer: torch.optim.Optimizer,
    real: torch.Tensor,
    labels: torch.Tensor,
    draws: DDraws,
) -> Metrics:
    """Updates D on real images (B, C, R, R) with labels (B,) and on as many generated ones.

    One power iteration for each update, one forward pass over both (D has no batch statistics).
    """
    with torch.no_grad():
        fake = G(draws.z, draws.y)
    if draws.flip is not None:
        real = torch.where(draws.flip[:, None, None, None], real.flip(3), real)
    real = _augment(settings, real, draws.augment_real)
    fake = _augment(settings, fake, draws.augment_fake)
    if D.spectral is not None:
        D.spectral.power_iteration()
    logits, class_logits = D(torch.cat([real, fake]), torch.cat([labels, draws.y]))  # (2B,)
    real_logits, fake_logits = logits.split([len(real), len(fake)])
    loss = ADVERSARIAL_LOSSES[settings.loss].d(real_logits, fake_logits)
    metrics = {"logits/real": real_logits.mean(), "logits/fake": fake_logits.mean()}
    if class_logits is not None:
        real_classes, fake_classes = class_logits.split([len(real), len(fake)])
        metrics["loss/d_class_real"] = classification(real_classes, labels)
        metrics["loss/d_class_fake"] = classification(fake_classes, draws.y)
        class_loss = metrics["loss/d_class_real"] + metrics["loss/d_class_fake"]
        loss = loss + settings.class_loss_weight * class_loss
    if draws.mixture is not None:
        penalty = gradient_penalty(D, real, fake, labels, draws.mixture)
        metrics["loss/gradient_penalty"] = penalty
        loss = loss + settings.gp_weight * penalty
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return _detached({"loss/d": loss, **metrics})


def g_step(
    settings: TrainSettings,
    G: Generator,
    D: Discriminator,
    optimizer: torch.optim.Optimizer,
    draws: GDraws,
) -> Metrics:
    """Updates G on a batch of latents and labels; D's weights get no gradients."""
    if G.spectral is not None:
        G.spectral.power_iteration()
    D.requires_grad_(False)
    logits, class_logits = D(_augment(settings, G(draws.z, draws.y), draws.augment), draws.y)
    loss = ADVERSARIAL_LOSSES[settings.loss].g(logits)
    metrics = {}
    if class_logits is not None:
        metrics["loss/g_class"] = classification(class_logits, draws.y)
        loss = loss + settings.class_loss_weight * metrics["loss/g_class"]
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    D.requires_grad_(True)
    optimizer.step()
    return _detached({"loss/g": loss, **metrics})


def _augment(
    settings: TrainSettings, images: torch.Tensor, draws: torch.Tensor | None
) -> torch.Tensor:
    return images if draws is None else augment(images, draws, settings.diffaugment)


def _detached(metrics: Metrics) -> Metrics:
    return {name: value.detach() for name, value in metrics.items()}
