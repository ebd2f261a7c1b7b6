"""What this implementation costs: FLOPs that run and bytes that autograd keeps, from a dry run.

Both updates of a training step run on the meta device, which computes shapes alone. Costs are
straight lines in the batch: slopes between two batches are those of an image, and what is left at
batch 0 (spectral norms, folded kernels) is that of an update.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from models.attention import SelfAttention
from models.cost import smallest_batch
from models.discriminator import Discriminator
from models.generator import Generator
from models.gradient_penalty import gradient_penalty
from models.losses import ADVERSARIAL_LOSSES, classification

Update = Callable[[int], torch.Tensor]
"""Batch to the loss that an update differentiates."""


@dataclass(frozen=True, kw_only=True)
class UpdateCost:
    """One update of one network on B images of each kind: constant + B * per_image."""

    flops_per_image: int
    flops_constant: int
    saved_bytes_per_image: int
    """Kept for the backward pass, parameters excluded, everything once."""
    saved_bytes_constant: int
    """Normalised weights and kernels, and their copies in `compute_dtype`."""
    attention_bytes_per_image: int
    """Of `saved_bytes_per_image`, what a fused attention kernel does without."""


def measure_d_update(G: Generator, D: Discriminator, loss: str) -> UpdateCost:
    """D on B real and B generated images, which G makes without a graph.

    The networks are on the meta device and in training mode; their `compute_dtype` counts.
    """

    def update(batch: int) -> torch.Tensor:
        real, z, y = _inputs(G, batch)
        with torch.no_grad():
            fake = G(z, y)
        if D.spectral is not None:
            D.spectral.power_iteration()
        logits, class_logits = D(torch.cat([real, fake]), torch.cat([y, y]))
        value = ADVERSARIAL_LOSSES[loss].d(*logits.split(batch))
        if class_logits is not None:
            value = value + sum(classification(half, y) for half in class_logits.split(batch))
        if loss == "wasserstein-gp":
            mixture = torch.empty(batch, device="meta")
            # The counter watches modules, and refuses gradients of what they are given itself.
            penalty = gradient_penalty(lambda x, y: D(x.clone(), y), real, fake, y, mixture)
            value = value + penalty
        return value

    return _measure(update, G, D, 2 * _attention_bytes(D))


def measure_g_update(G: Generator, D: Discriminator, loss: str) -> UpdateCost:
    """G on B latents, through D, whose weights get no gradients; see `measure_d_update`."""

    def update(batch: int) -> torch.Tensor:
        _, z, y = _inputs(G, batch)
        if G.spectral is not None:
            G.spectral.power_iteration()
        logits, class_logits = D(G(z, y), y)
        value = ADVERSARIAL_LOSSES[loss].g(logits)
        return value if class_logits is None else value + classification(class_logits, y)

    D.requires_grad_(False)
    try:
        return _measure(update, G, D, _attention_bytes(G) + _attention_bytes(D))
    finally:
        D.requires_grad_(True)


def _measure(update: Update, G: Generator, D: Discriminator, attention_bytes: int) -> UpdateCost:
    unit = smallest_batch(G.config)
    parameters = {p.untyped_storage()._cdata for network in (G, D) for p in network.parameters()}
    flops, flops_constant = _line(lambda batch: _flops(update, batch), unit)
    saved, saved_constant = _line(lambda batch: _saved_bytes(update, batch, parameters), unit)
    return UpdateCost(
        flops_per_image=flops,
        flops_constant=flops_constant,
        saved_bytes_per_image=saved,
        saved_bytes_constant=saved_constant,
        attention_bytes_per_image=attention_bytes,
    )


def _line(cost: Callable[[int], int], unit: int) -> tuple[int, int]:
    """Slope and value at 0, from batches of one and two `unit`s."""
    one, two = cost(unit), cost(2 * unit)
    return (two - one) // unit, 2 * one - two


def _inputs(G: Generator, batch: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    config = G.config
    side = config.resolution
    return (
        torch.empty(batch, config.image_channels, side, side, device="meta"),
        torch.empty(batch, config.z_dim, device="meta"),
        torch.empty(batch, dtype=torch.int64, device="meta"),
    )


def _flops(update: Update, batch: int) -> int:
    with FlopCounterMode(display=False) as counter:
        update(batch).backward()
    return counter.get_total_flops()


def _saved_bytes(update: Update, batch: int, excluded: set[int]) -> int:
    storages: dict[int, torch.UntypedStorage] = {}  # held, so that no address is used twice

    def pack(saved: torch.Tensor) -> torch.Tensor:
        storage = saved.untyped_storage()
        storages[storage._cdata] = storage
        return saved

    with saved_tensors_hooks(pack, lambda packed: packed):
        update(batch)
    return sum(storage.nbytes() for at, storage in storages.items() if at not in excluded)


def _attention_bytes(network: Generator | Discriminator) -> int:
    """Of one image: attention's weights less the row sums that a fused kernel keeps instead.

    Memory-efficient kernels take rows of whole 16 bytes only, and keep one float32 logarithm of a
    sum for each query.
    """
    element = network.compute_dtype.itemsize
    total = 0
    for size, block in network.attention.items():
        if not isinstance(block, SelfAttention):
            continue
        channels = (block.query.weight.shape[0], block.value.weight.shape[0])
        if all(c * element % 16 == 0 for c in channels):
            queries = int(size) ** 2
            total += queries * (queries // block.pool**2 * element - 4)
    return total
