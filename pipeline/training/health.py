"""Checks of a run's health: finite numbers, samples that differ, equal weights on all processes."""

import math
from collections.abc import Mapping

import torch

from pipeline.core.errors import UserError
from pipeline.distributed.context import DistContext
from pipeline.training.state import TrainState

COLLAPSED_PIXEL_STD = 0.05
"""Share of the real images' pixel std below which generated images count as collapsed."""
SATURATED_D_LOSS = 1e-3
"""Loss of D below which G gets no gradient worth the name."""
COLLAPSE_REPORTS = 3
"""Consecutive reports that must agree."""


def find_nonfinite(
    state: TrainState, metrics: Mapping[str, float], context: DistContext
) -> str | None:
    """Where a number first was not finite, the same on all processes; None if all are finite.

    `metrics` are this process's own. A collective.
    """
    own = {
        "loss/d": state.D_nonfinite.first_of_loss(),
        "loss/g": state.G_nonfinite.first_of_loss(),
    }
    losses = [
        (nimg, name, rank)
        for rank, others in enumerate(context.gather(own))
        for name, nimg in others.items()
        if nimg >= 0
    ]
    tensors = _nonfinite_updates(state) or _nonfinite_weights(state)
    if not losses and tensors is None:
        return _nonfinite_metrics(state, metrics, context)
    found, nimgs = [], []
    if losses:  # at one nimg the loss of D comes before that of G, which follows from it
        nimg, name, rank = min(losses)
        found.append(f"{name} on rank {rank}")
        nimgs.append(nimg)
    if tensors is not None:
        nimg, kind, names = tensors
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        found.append(f"{kind} {names[0]}{more}")
        nimgs.append(nimg)
    return f"{', '.join(found)} not finite at nimg {min(nimgs)}"


def check_equal_weights(state: TrainState, context: DistContext) -> None:
    """Raises UserError on all processes when their weights differ in a bit. A collective."""
    if not context.is_distributed:
        return
    sums = context.gather(
        {"G": _checksum(state.G), "D": _checksum(state.D), "G_ema": _checksum(state.G_ema)}
    )
    for rank, other in enumerate(sums):
        apart = [name for name, value in other.items() if value != sums[0][name]]
        if apart:
            raise UserError(
                f"the weights of {' and '.join(apart)} on rank {rank} differ from rank 0's at "
                f"nimg {state.nimg}; the newest checkpoint is from before that: run the same "
                "command again, on nodes of one kind and one version of torch"
            )


class CollapseDetector:
    """Detects collapse from reports: G generates one image, or D's loss is 0."""

    def __init__(self, loss: str) -> None:
        self._saturates = loss != "wasserstein-gp"  # its zero has no meaning
        self._in_a_row = 0

    def check(self, metrics: dict[str, float]) -> str | None:
        """The reason, once COLLAPSE_REPORTS consecutive reports show one; else None."""
        real, fake = metrics["pixel_std/real"], metrics["pixel_std/fake"]
        reason = None
        if fake < COLLAPSED_PIXEL_STD * real:
            reason = f"generated images vary {fake / real:.1%} as much as real ones"
        elif self._saturates and metrics["loss/d"] < SATURATED_D_LOSS:
            reason = f"the discriminator's loss is {metrics['loss/d']:.2g}"
        self._in_a_row = self._in_a_row + 1 if reason else 0
        return reason if self._in_a_row >= COLLAPSE_REPORTS else None


def _nonfinite_metrics(
    state: TrainState, metrics: Mapping[str, float], context: DistContext
) -> str | None:
    own = [name for name, value in metrics.items() if not math.isfinite(value)]
    for rank, names in enumerate(context.gather(own)):
        if names:
            return f"{', '.join(names)} on rank {rank} not finite by nimg {state.nimg}"
    return None


def _nonfinite_updates(state: TrainState) -> tuple[int, str, list[str]] | None:
    found = []
    for name, record in (("D", state.D_nonfinite), ("G", state.G_nonfinite)):
        if (first := record.first()) is not None:
            nimg, kind, parameters = first
            found.append((nimg, kind, [f"{name}.{parameter}" for parameter in parameters]))
    # At one nimg D is updated before G, whose gradients come through it.
    return min(found, key=lambda each: each[0], default=None)


def _nonfinite_weights(state: TrainState) -> tuple[int, str, list[str]] | None:
    names = [
        f"{name}.{parameter_name}"
        for name, network in (("D", state.D), ("G", state.G))
        for parameter_name, parameter in network.named_parameters()
        if not torch.isfinite(parameter).all()
    ]
    return (state.nimg, "the weight", names) if names else None


def _checksum(network: torch.nn.Module) -> int:
    """A sum over the bits of all weights and buffers; overflow wraps alike everywhere."""
    total = torch.zeros((), dtype=torch.int64)
    for tensor in network.state_dict().values():
        bits = torch.int64 if tensor.element_size() == 8 else torch.int32
        flat = tensor.detach().contiguous().view(-1).view(bits).to(torch.int64)
        weights = torch.arange(1, len(flat) + 1, device=flat.device)
        total = total * 31 + (flat * weights).sum().cpu()
    return int(total)
