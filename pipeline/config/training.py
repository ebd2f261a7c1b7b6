"""From the sections of `params.yaml` to the plain settings of the training loop."""

from models.architecture import DiscriminatorConfig, GeneratorConfig
from pipeline.config.params import Params
from pipeline.data.manifest import Manifest
from pipeline.training.settings import RuntimeSettings, TrainSettings


def train_settings(params: Params, manifest: Manifest) -> TrainSettings:
    """What decides the result of training on the data set of `manifest`."""
    model = params.model
    image = {
        "resolution": manifest.resolution,
        "image_channels": manifest.channels,
        "num_classes": len(manifest.class_names),
    }
    return TrainSettings(
        generator=GeneratorConfig(
            **image,
            z_dim=model.z_dim,
            width=model.g_width,
            attention=tuple(model.g_attention),
            spectral_norm=model.g_spectral_norm,
        ),
        discriminator=DiscriminatorConfig(
            **image,
            width=model.d_width,
            attention=tuple(model.d_attention),
            spectral_norm=model.d_spectral_norm,
        ),
        **params.train.model_dump(),
    )


def runtime_settings(params: Params, device: str) -> RuntimeSettings:
    """What cannot change the result of training."""
    runtime = params.runtime
    return RuntimeSettings(
        device=device,
        status_kimg=runtime.status_kimg,
        checkpoint_kimg=runtime.checkpoint_kimg,
        keep_checkpoints=runtime.keep_checkpoints,
    )
