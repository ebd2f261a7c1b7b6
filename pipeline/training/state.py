"""Everything that a checkpoint holds: networks, optimisers, averaged generator and progress."""

import copy
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Adam

from models.discriminator import Discriminator
from models.generator import Generator
from models.normalization import StandingNorm
from pipeline.core.randomness import generator_at
from pipeline.distributed.context import DistContext
from pipeline.training.nonfinite import NonfiniteRecord
from pipeline.training.settings import TrainSettings

WEIGHT_DTYPES = {"fp64": torch.float64, "fp32": torch.float32, "bf16": torch.float32}
COMPUTE_DTYPES = {**WEIGHT_DTYPES, "bf16": torch.bfloat16}


class TrainState:
    """A run at `nimg` images; a new one is at 0 with weights drawn from the seed.

    `G_ddp` and `D_ddp` call G and D with gradients averaged over the processes; they are the
    networks themselves where there is one process.
    """

    def __init__(
        self,
        settings: TrainSettings,
        device: str,
        context: DistContext = DistContext(),  # noqa: B008
    ) -> None:
        self.nimg = 0
        self.elapsed_s = 0.0
        self.G = Generator(settings.generator)
        self.D = Discriminator(settings.discriminator)
        self.G.initialize(generator_at(settings.seed, "init/generator"))
        self.D.initialize(generator_at(settings.seed, "init/discriminator"))
        for network in (self.G, self.D):
            network.compute_dtype = COMPUTE_DTYPES[settings.precision]
            network.to(device, WEIGHT_DTYPES[settings.precision])
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            _restride(network)
        self.G_ema = copy.deepcopy(self.G).requires_grad_(False)
        for module in self.G.modules():
            if isinstance(module, StandingNorm):
                module.synchronized = context.is_distributed
        self.G_ddp = _distribute(self.G, context, torch.device(device))
        self.D_ddp = _distribute(self.D, context, torch.device(device))
        self.G_optimizer = _adam(self.G, settings.g_lr, settings)
        self.D_optimizer = _adam(self.D, settings.d_lr, settings)
        self.G_nonfinite = NonfiniteRecord(self.G, torch.device(device))
        self.D_nonfinite = NonfiniteRecord(self.D, torch.device(device))

    def state_dict(self) -> dict[str, Any]:
        """Plain tensors and numbers only, so that it loads without unpickling code."""
        return {
            "nimg": self.nimg,
            "elapsed_s": self.elapsed_s,
            "G": self.G.state_dict(),
            "D": self.D.state_dict(),
            "G_ema": self.G_ema.state_dict(),
            "g_optimizer": self.G_optimizer.state_dict(),
            "d_optimizer": self.D_optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over a saved state; the networks must be of the same configuration."""
        self.nimg = state["nimg"]
        self.elapsed_s = state["elapsed_s"]
        for name in ("G", "D", "G_ema"):
            getattr(self, name).load_state_dict(state[name])
        self.G_optimizer.load_state_dict(state["g_optimizer"])
        self.D_optimizer.load_state_dict(state["d_optimizer"])
        self.G_nonfinite.clear()
        self.D_nonfinite.clear()


def _distribute(network: nn.Module, context: DistContext, device: torch.device) -> nn.Module:
    if not context.is_distributed:
        return network
    # Buffers need no broadcast: spectral norm's vectors are equal everywhere, and standing
    # statistics are of the averaged generator alone.
    return DistributedDataParallel(
        network,
        device_ids=[device] if device.type == "cuda" else None,
        forward_sync_buffers=False,
        gradient_as_bucket_view=True,
    )


def _restride(network: nn.Module) -> None:
    """Gives kernels whose strides channels last leaves open those of their gradients."""
    for parameter in network.parameters():
        if parameter.ndim == 4 and 1 in parameter.shape[1:]:
            parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)


def _adam(network: nn.Module, lr: float, settings: TrainSettings) -> Adam:
    return Adam(
        network.parameters(),
        lr=lr,
        betas=(settings.adam_beta1, settings.adam_beta2),
        eps=settings.adam_eps,
        fused=True,
    )
