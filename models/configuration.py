"""Configurations of the two networks: the function of each and the shapes of its weights.

The defaults are those of the released SAGAN code.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from models.architecture import check_attention, discriminator_sizes, generator_sizes
from models.variants import System

AttentionBlock = Literal["attention", "residual"]
AttentionForm = Literal["released", "paper"]
BnStatistics = Literal["global", "ghost", "process"]
CbnInitialization = Literal["identity", "network"]
Conditioning = Literal["projection", "auxiliary-classifier"]
Initialization = Literal["xavier", "orthogonal", "normal"]


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Fields of both networks."""

    resolution: int
    image_channels: int
    num_classes: int
    width: int
    """Channels of a table's multiple 1; 64 in the paper."""
    attention: tuple[int, ...]
    """Feature sizes with an attention block after the (first) block of that size."""
    attention_block: str = "attention"
    """attention, or residual: the control of the paper's Table 1."""
    attention_form: str = "released"
    """released (pooled keys, C/2 channels of values) or paper (its text: no pooling, C/8)."""
    spectral_norm: bool = True
    spectral_norm_eps: float = 1e-12
    initialization: str = "xavier"

    def __post_init__(self) -> None:
        if self.num_classes < 1:
            raise ValueError(f"num_classes = {self.num_classes}; at least 1 is needed")
        if self.width < 1:
            raise ValueError(f"width = {self.width}; at least 1 is needed")
        self._check_choice("attention_block", AttentionBlock)
        self._check_choice("attention_form", AttentionForm)
        self._check_choice("initialization", Initialization)

    def _check_choice(self, name: str, choices: Any) -> None:
        value, valid = getattr(self, name), get_args(choices)
        if value not in valid:
            raise ValueError(f"{name} = {value!r} is not known; choose one of {', '.join(valid)}")


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig(NetworkConfig):
    """Fields of the generator."""

    z_dim: int
    cbn_spectral_norm: bool = False
    """Spectral normalisation of the class tables too, as PyTorch-StudioGAN does."""
    cbn_initialization: str = "identity"
    """identity (gain 1, bias 0), or network: drawn as the other weights are, around it."""
    bn_statistics: str = "global"
    """Of the global batch, of ghost batches of `bn_ghost_batch`, or of each process's share."""
    bn_ghost_batch: int = 64
    bn_eps: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_attention("generator", self.attention, generator_sizes(self.resolution))
        self._check_choice("bn_statistics", BnStatistics)
        self._check_choice("cbn_initialization", CbnInitialization)
        if self.cbn_spectral_norm and self.cbn_initialization == "identity":
            raise ValueError(
                "cbn_spectral_norm = true with cbn_initialization = 'identity' would divide tables "
                "of zeros by their norm; set cbn_initialization: network"
            )


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig(NetworkConfig):
    """Fields of the discriminator."""

    conditioning: str = "projection"
    """How labels enter: projection, or an auxiliary classifier that predicts them (AC-GAN)."""
    shortcut_relu: bool = False
    """Whether shortcuts take relu(x): the in-place ReLU of PyTorch-StudioGAN resnet.py:233-255."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_attention("discriminator", self.attention, discriminator_sizes(self.resolution))
        self._check_choice("conditioning", Conditioning)
        if self.conditioning == "auxiliary-classifier" and self.num_classes < 2:
            raise ValueError(
                "conditioning = 'auxiliary-classifier' needs at least 2 classes; "
                "with one choose 'projection'"
            )


def generator_config(
    system: System,
    *,
    resolution: int,
    image_channels: int,
    num_classes: int,
    width: int,
    z_dim: int,
) -> GeneratorConfig:
    """The generator of `system`, whose attention sizes are resolved (`models.variants.resolve`).

    Raises ValueError for sizes that no network has.
    """
    return GeneratorConfig(
        resolution=resolution,
        image_channels=image_channels,
        num_classes=num_classes,
        width=width,
        z_dim=z_dim,
        attention=_resolved(system.g_attention),
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
    """The discriminator of `system`; see `generator_config`."""
    return DiscriminatorConfig(
        resolution=resolution,
        image_channels=image_channels,
        num_classes=num_classes,
        width=width,
        attention=_resolved(system.d_attention),
        attention_block=system.attention_block,
        attention_form=system.attention_form,
        spectral_norm=system.d_spectral_norm,
        spectral_norm_eps=system.spectral_norm_eps,
        initialization=system.initialization,
        conditioning=system.conditioning,
        shortcut_relu=system.d_shortcut_relu,
    )


def _resolved(attention: tuple[int, ...] | None) -> tuple[int, ...]:
    assert attention is not None, "resolve the system at a resolution first"
    return attention
