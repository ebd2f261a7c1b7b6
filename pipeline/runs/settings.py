"""From the sections of `params.yaml` to the plain settings of the training loop."""

from typing import Any

from models.configuration import discriminator_config, generator_config
from pipeline.config.params import Params
from pipeline.config.system import resolve_system
from pipeline.core.errors import UserError
from pipeline.data.shards.manifest import Manifest
from pipeline.training.settings import RuntimeSettings, TrainSettings


def train_settings(params: Params, manifest: Manifest) -> TrainSettings:
    """The settings of `resolve_run` alone."""
    return resolve_run(params, manifest)[0]


def resolve_run(params: Params, manifest: Manifest) -> tuple[TrainSettings, dict[str, Any]]:
    """What decides the result of training on the data set of `manifest`, and its description.

    The description has the variant's name and, by key, what departs from it, as JSON values.
    Raises UserError for networks that cannot be made for the data set's images and classes.
    """
    model, train = params.model, params.train
    resolved = resolve_system(model, train, manifest.resolution)
    system = resolved.system
    resolution, num_classes = manifest.resolution, len(manifest.class_names)
    try:
        generator = generator_config(
            system,
            resolution=resolution,
            image_channels=manifest.channels,
            num_classes=num_classes,
            width=model.g_width,
            z_dim=model.z_dim,
        )
        discriminator = discriminator_config(
            system,
            resolution=resolution,
            image_channels=manifest.channels,
            num_classes=num_classes,
            width=model.d_width,
        )
    except ValueError as error:
        raise UserError(f"params.yaml, section model: {error}") from None
    g_lr = train.lr_multiplier * system.g_lr if train.g_lr is None else train.g_lr
    d_lr = train.lr_multiplier * system.d_lr if train.d_lr is None else train.d_lr
    settings = TrainSettings(
        generator=generator,
        discriminator=discriminator,
        seed=train.seed,
        total_kimg=train.total_kimg,
        batch=train.batch,
        order=train.order,
        order_window=train.order_window,
        loss=system.loss,
        gp_weight=system.gp_weight,
        class_loss_weight=system.class_loss_weight,
        d_steps=system.d_steps,
        g_lr=g_lr,
        d_lr=d_lr,
        lr_decay=system.lr_decay,
        g_lr_halflife_kimg=None if g_lr == d_lr else train.g_lr_halflife_kimg,
        adam_beta1=system.adam_beta1,
        adam_beta2=system.adam_beta2,
        adam_eps=system.adam_eps,
        ema_halflife_kimg=train.ema_halflife_kimg if system.ema else None,
        ema_start_kimg=train.ema_start_kimg,
        flip=system.flip,
        diffaugment=tuple(train.diffaugment),
        precision=train.precision,
        snapshot_kimg=train.snapshot_kimg,
    )
    departures = {
        key: f"{value} (variant: {meant})" for key, (value, meant) in resolved.departures.items()
    }
    return settings, {"variant": model.variant, "departures": departures}


def runtime_settings(params: Params, device: str) -> RuntimeSettings:
    """What cannot change the result of training."""
    runtime = params.runtime
    return RuntimeSettings(
        device=device,
        batch_per_process=runtime.batch_per_process,
        on_collapse=runtime.on_collapse,
        status_kimg=runtime.status_kimg,
        checkpoint_kimg=runtime.checkpoint_kimg,
        keep_checkpoints=runtime.keep_checkpoints,
        eval_kimg=params.train.eval_kimg,
    )
