"""The configurations of a system's two networks at given sizes."""

from models.configuration import DiscriminatorConfig, GeneratorConfig
from models.variants import System


def generator_config(
    system: System,
    *,
    resolution: int,
    image_channels: int,
    num_classes: int,
    width: int,
    z_dim: int,
) -> GeneratorConfig:
    """`system` with its places in numbers, as `models.variants.resolve` returns it.

    Raises ValueError for sizes or places that no network has.
    """
    return GeneratorConfig(
        resolution=resolution,
        image_channels=image_channels,
        num_classes=num_classes,
        width=width,
        z_dim=z_dim,
        attention=_placed(system.g_attention),
        attention_block=system.attention_block,
        attention_form=system.attention_form,
        spectral_norm=system.g_spectral_norm,
        spectral_norm_eps=system.spectral_norm_eps,
        cbn_spectral_norm=system.cbn_spectral_norm,
        cbn_initialization=system.cbn_initialization,
        initialization=system.initialization,
        bn_statistics=system.bn_statistics,
        bn_ghost_batch=system.bn_ghost_batch,
        bn_eps=system.bn_eps,
    )


def discriminator_config(
    system: System, *, resolution: int, image_channels: int, num_classes: int, width: int
) -> DiscriminatorConfig:
    """See `generator_config`."""
    return DiscriminatorConfig(
        resolution=resolution,
        image_channels=image_channels,
        num_classes=num_classes,
        width=width,
        attention=_placed(system.d_attention),
        attention_block=system.attention_block,
        attention_form=system.attention_form,
        spectral_norm=system.d_spectral_norm,
        spectral_norm_eps=system.spectral_norm_eps,
        initialization=system.initialization,
        conditioning=system.conditioning,
        shortcut_relu=system.d_shortcut_relu,
    )


def _placed(attention: tuple[int, ...] | None) -> tuple[int, ...]:
    assert attention is not None, "resolve the system at a resolution first"
    return attention
