"""What params.yaml describes, ready to be taken apart: its data set, settings and pure steps."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from models.ema import update_ema
from pipeline.config.params import Params, load_params
from pipeline.data.shards.reader import Dataset, open_dataset
from pipeline.distributed.context import DistContext
from pipeline.runs.settings import train_settings
from pipeline.training.draws import draw_for_d, draw_for_g
from pipeline.training.settings import TrainSettings
from pipeline.training.state import TrainState
from pipeline.training.steps import d_step, g_step


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A run that could be started."""

    params: Params
    dataset: Dataset
    settings: TrainSettings


def load_preset(folder: Path) -> Preset:
    """The run of this folder's params.yaml; its shards are made in `folder`."""
    params = load_params()
    subprocess.run([sys.executable, "-m", "stages.shard", "--out", str(folder)], check=True)
    dataset = open_dataset(folder)
    return Preset(params=params, dataset=dataset, settings=train_settings(params, dataset.manifest))


class PureSteps:
    """Updates of both networks on one batch with one set of draws, and nothing beside them."""

    def __init__(
        self,
        settings: TrainSettings,
        device: str,
        context: DistContext = DistContext(),  # noqa: B008
    ) -> None:
        """A state of its own; several processes share the batch of `settings`."""
        self.settings = settings
        self.state = TrainState(settings, device, context)
        share = context.share(settings.batch)
        config = settings.discriminator
        generator = torch.Generator().manual_seed(context.rank)
        shape = (share.stop - share.start, config.image_channels, *2 * [config.resolution])
        self.real = (torch.rand(shape, generator=generator) * 2 - 1).to(device)
        self.d_draws = draw_for_d(settings, 0, device, share)
        self.g_draws = draw_for_g(settings, 0, device, share)

    def __call__(self) -> None:
        """One step of D, and one of G where it is due."""
        settings, state = self.settings, self.state
        d_step(settings, state, self.real, self.d_draws.y, self.d_draws, settings.d_lr)
        if settings.updates_g_at(state.nimg):
            g_step(settings, state, self.g_draws, settings.g_lr)
            num_images = settings.batch * settings.d_steps
            halflife_nimg = settings.ema_halflife_nimg_at(state.nimg)
            update_ema(state.G_ema, state.G, num_images, halflife_nimg)
        state.nimg += settings.batch
