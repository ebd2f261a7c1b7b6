"""Everything that a run must carry over a crash: networks, optimisers, average and progress."""

import copy
from typing import Any

import torch
from torch.optim import Adam

from models.discriminator import Discriminator
from models.generator import Generator
from models.normalization import StandingNorm
from pipeline.core.randomness import generator_at
from pipeline.distributed.context import DistContext
from pipeline.training.player import Player
from pipeline.training.settings import TrainSettings

WEIGHT_DTYPES = {"fp64": torch.float64, "fp32": torch.float32, "bf16": torch.float32}
COMPUTE_DTYPES = {**WEIGHT_DTYPES, "bf16": torch.bfloat16}


class TrainState:
    """A run at `nimg` images; a new one stands at 0 with weights drawn from the seed."""

    def __init__(
        self,
        settings: TrainSettings,
        device: str,
        context: DistContext = DistContext(),  # noqa: B008
    ) -> None:
        self.nimg = 0
        self.elapsed_s = 0.0
        self.lr_factor = 1.0
        """Of both learning rates; rollbacks halve it."""
        self.num_rollbacks = 0
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
        place = torch.device(device)
        self.g = Player(self.G, _adam(self.G, settings.g_lr, settings), context, place)
        self.d = Player(self.D, _adam(self.D, settings.d_lr, settings), context, place)

    def state_dict(self) -> dict[str, Any]:
        """Plain tensors and numbers only, so that it loads without unpickling code."""
        return {
            "nimg": self.nimg,
            "elapsed_s": self.elapsed_s,
            "lr_factor": self.lr_factor,
            "num_rollbacks": self.num_rollbacks,
            "G": self.G.state_dict(),
            "D": self.D.state_dict(),
            "G_ema": self.G_ema.state_dict(),
            "g_optimizer": self.g.optimizer.state_dict(),
            "d_optimizer": self.d.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over a saved state; the networks must be of the same configuration."""
        self.nimg = state["nimg"]
        self.elapsed_s = state["elapsed_s"]
        self.lr_factor = state["lr_factor"]
        self.num_rollbacks = state["num_rollbacks"]
        for name in ("G", "D", "G_ema"):
            getattr(self, name).load_state_dict(state[name])
        self.g.load_optimizer(state["g_optimizer"])
        self.d.load_optimizer(state["d_optimizer"])


def _restride(network: torch.nn.Module) -> None:
    """Gives kernels whose strides channels last leaves open those of their gradients."""
    for parameter in network.parameters():
        if parameter.ndim == 4 and 1 in parameter.shape[1:]:
            parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)


def _adam(network: torch.nn.Module, lr: float, settings: TrainSettings) -> Adam:
    return Adam(
        network.parameters(),
        lr=lr,
        betas=(settings.adam_beta1, settings.adam_beta2),
        eps=settings.adam_eps,
        fused=True,
    )
