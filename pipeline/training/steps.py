"""One update of each network; plain functions that return detached metrics on the device."""

import torch

from models.discriminator import Discriminator
from models.generator import Generator
from models.losses import hinge_d, hinge_g

Inputs = tuple[torch.Tensor, torch.Tensor]  # latents (B, z_dim) and labels (B,)
Metrics = dict[str, torch.Tensor]


def d_step(
    G: Generator,
    D: Discriminator,
    optimizer: torch.optim.Optimizer,
    real: torch.Tensor,
    labels: torch.Tensor,
    fake_inputs: Inputs,
) -> Metrics:
    """Updates D on real images (B, C, R, R) with labels (B,) and on as many generated ones.

    One power iteration for each update, one forward pass over both (D has no batch statistics).
    """
    z, y = fake_inputs
    with torch.no_grad():
        fake = G(z, y)
    if D.spectral is not None:
        D.spectral.power_iteration()
    logits = D(torch.cat([real, fake]), torch.cat([labels, y]))  # (2B,)
    real_logits, fake_logits = logits.split([len(real), len(fake)])
    loss = hinge_d(real_logits, fake_logits)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return {
        "loss/d": loss.detach(),
        "logits/real": real_logits.detach().mean(),
        "logits/fake": fake_logits.detach().mean(),
    }


def g_step(
    G: Generator, D: Discriminator, optimizer: torch.optim.Optimizer, fake_inputs: Inputs
) -> Metrics:
    """Updates G on a batch of latents and labels; D's weights get no gradients."""
    z, y = fake_inputs
    if G.spectral is not None:
        G.spectral.power_iteration()
    D.requires_grad_(False)
    loss = hinge_g(D(G(z, y), y))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    D.requires_grad_(True)
    optimizer.step()
    return {"loss/g": loss.detach()}
