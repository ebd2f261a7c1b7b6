"""The systems that the SAGAN paper compares, and two later recipes, as data.

A variant sets architecture, loss and optimiser, but no sizes (widths, batch, length of training).
The defaults of `System` are those of the released SAGAN code. Sources: SAGAN paper (Zhang et al.,
ICML 2019), brain-research/self-attention-gan, pfnet-research/sngan_projection, PyTorch-StudioGAN
src/configs/ImageNet/SAGAN.yaml, mmgeneration configs/sagan.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from models.architecture import shared_sizes


@dataclass(frozen=True, kw_only=True)
class System:
    """All choices in which systems differ; fields have the names of the keys of params.yaml."""

    g_attention: tuple[int, ...] | None = None
    """Feature sizes; None: half the side of the image."""
    d_attention: tuple[int, ...] | None = None
    attention_block: str = "attention"
    attention_form: str = "released"
    conditioning: str = "projection"
    g_spectral_norm: bool = True
    d_spectral_norm: bool = True
    spectral_norm_eps: float = 1e-12
    cbn_spectral_norm: bool = False
    cbn_initialization: str = "identity"
    initialization: str = "xavier"
    bn_statistics: str = "global"
    bn_ghost_batch: int = 64
    bn_eps: float = 1e-5
    d_shortcut_relu: bool = False

    loss: str = "hinge"
    class_loss_weight: float = 1.0
    """Weight of the classification loss in both networks' losses, with auxiliary-classifier."""
    gp_weight: float = 10.0
    """Weight of the gradient penalty, with loss wasserstein-gp."""
    d_steps: int = 1
    """Updates of D for each of G."""
    g_lr: float = 1e-4
    d_lr: float = 4e-4
    lr_decay: str = "constant"
    """constant, or linear: both rates fall to 0 over the last ninth of the run."""
    adam_beta1: float = 0.0
    adam_beta2: float = 0.999
    """As released (TensorFlow's default); the paper's text has 0.9."""
    adam_eps: float = 1e-8
    ema: bool = True
    flip: bool = False

    defined_by: tuple[str, ...] = ()
    """Fields that define the variant: a configuration may not change them."""


# The paper does not give the rate of its systems without TTUR; 2e-4 is SNGAN's, and the geometric
# mean of TTUR's two.
_SAGAN = System()
_NO_ATTENTION = replace(
    _SAGAN, g_attention=(), d_attention=(), defined_by=("g_attention", "d_attention")
)
_SN_GD = replace(
    _NO_ATTENTION,
    g_lr=2e-4,
    d_lr=2e-4,
    defined_by=(*_NO_ATTENTION.defined_by, "g_spectral_norm", "d_spectral_norm"),
)
# SNGAN's published recipe for ImageNet at 128 pixels: 5 updates of D, Adam (0, 0.9), rates of 2e-4
# that fall linearly from 400k to 450k iterations.
_SNGAN = replace(
    _SN_GD,
    g_spectral_norm=False,
    d_steps=5,
    lr_decay="linear",
    adam_beta2=0.9,
    defined_by=(*_SN_GD.defined_by, "conditioning", "d_steps", "lr_decay"),
)


def _placed(size: int, block: str) -> System:
    """Table 1: one block after the size x size features of both networks."""
    return replace(
        _SAGAN,
        g_attention=(size,),
        d_attention=(size,),
        attention_block=block,
        defined_by=("g_attention", "d_attention", "attention_block"),
    )


TABLE_1_SIZES = (8, 16, 32, 64)

VARIANTS: Mapping[str, System] = {
    # Figure 4, without attention: what stabilises training
    "sn-d": replace(_SN_GD, g_spectral_norm=False),
    "sn-gd": _SN_GD,
    "sn-gd-ttur": replace(_SN_GD, g_lr=1e-4, d_lr=4e-4),
    # Table 1: attention at each feature size, and its residual control
    "no-attention": _NO_ATTENTION,
    **{f"sagan-feat{size}": _placed(size, "attention") for size in TABLE_1_SIZES},
    **{f"residual-feat{size}": _placed(size, "residual") for size in TABLE_1_SIZES},
    # Table 2: the state of the art; its AC-GAN row is Miyato and Koyama's, in SNGAN's recipe
    "acgan": replace(_SNGAN, conditioning="auxiliary-classifier"),
    "sngan-projection": _SNGAN,
    "sagan": _SAGAN,
    # FID 12.83 on ImageNet at 128 pixels against the paper's 18.65: mmgeneration
    # sagan_128_woReLUinplace_noaug_bigGAN_imagenet1k_lr-1e-4_b32x8, 32 images on each of 8 GPUs
    "biggan-recipe": replace(
        _SAGAN, bn_statistics="ghost", bn_ghost_batch=32, spectral_norm_eps=1e-8
    ),
    # FID 34.7 and worse there: PyTorch-StudioGAN's settings
    "studiogan-recipe": replace(
        _SAGAN,
        spectral_norm_eps=1e-6,
        cbn_spectral_norm=True,
        cbn_initialization="network",
        initialization="orthogonal",
        bn_eps=1e-4,
        d_shortcut_relu=True,
        adam_eps=1e-6,
        ema=False,
        flip=True,
    ),
}


def resolve(
    variant: str, resolution: int, overrides: Mapping[str, Any]
) -> tuple[System, dict[str, tuple[Any, Any]]]:
    """The system of a variant with `overrides`, and the departures by key: (value, variant's).

    `overrides` maps fields of `System` to values; None keeps the variant's. Raises ValueError,
    whose text starts with the key, for an unknown variant, a feature size that a resolution does
    not have, a value that contradicts the variant's definition, and one without effect.
    """
    named = at_resolution(variant, resolution)
    chosen = {key: value for key, value in overrides.items() if value is not None}
    departures = {
        key: (value, getattr(named, key))
        for key, value in chosen.items()
        if value != getattr(named, key)
    }
    for key, (value, defined) in departures.items():
        if key in named.defined_by:
            raise ValueError(
                f"{key} = {_show(value)} contradicts variant {variant!r}, which stands for "
                f"{_show(defined)}; leave it null, or choose another variant (sagan fixes nothing)"
            )
    system = replace(named, **{key: value for key, (value, _) in departures.items()})
    for key, (switch, needed) in _ONLY_WITH.items():
        if chosen.get(key) and getattr(system, switch) != needed:
            raise ValueError(
                f"{key} = {chosen[key]!r} counts only with {switch} = {needed!r}, which is "
                f"{getattr(system, switch)!r} here; leave {key} null"
            )
    for key in ("attention_block", "attention_form"):
        if key in chosen and not system.g_attention and not system.d_attention:
            raise ValueError(
                f"{key} = {chosen[key]!r} counts only where there is attention, which "
                f"g_attention and d_attention leave out here; leave {key} null"
            )
    return system, departures


def at_resolution(variant: str, resolution: int) -> System:
    """The system with its attention sizes resolved.

    Raises ValueError for an unknown variant and for a size that the networks do not have.
    """
    if variant not in VARIANTS:
        nearest = difflib.get_close_matches(variant, VARIANTS, n=1)
        hint = f"the nearest is {nearest[0]!r}; " if nearest else ""
        raise ValueError(
            f"variant = {variant!r} is not known; {hint}there are {', '.join(VARIANTS)}"
        )
    system = VARIANTS[variant]
    sizes = shared_sizes(resolution)
    attention: dict[str, tuple[int, ...]] = {}
    for key in ("g_attention", "d_attention"):
        wanted = getattr(system, key)
        attention[key] = (resolution // 2,) if wanted is None else wanted
        for size in attention[key]:
            if size not in sizes:
                family = variant.removesuffix(str(size))
                available = ", ".join(f"{family}{s}" for s in sizes if s in TABLE_1_SIZES)
                raise ValueError(
                    f"variant = {variant!r} needs {size}x{size} features in both networks, which "
                    f"those of resolution {resolution} do not have; choose among {available}"
                )
    return replace(system, **attention)  # type: ignore[arg-type]


_ONLY_WITH = {
    "class_loss_weight": ("conditioning", "auxiliary-classifier"),
    "gp_weight": ("loss", "wasserstein-gp"),
    "bn_ghost_batch": ("bn_statistics", "ghost"),
    "cbn_spectral_norm": ("g_spectral_norm", True),
}


def _show(value: object) -> str:
    return repr(list(value)) if isinstance(value, tuple) else repr(value)


OPTIONS = tuple(field.name for field in fields(System) if field.name != "defined_by")
"""Names of the fields that a configuration may override."""
