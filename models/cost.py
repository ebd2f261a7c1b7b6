"""What the published networks cost: parameters and multiply-adds of each layer, FLOPs of a step.

This is the arithmetic of the papers' networks, where nothing is folded: a 3x3 convolution beside a
resampling runs at the larger size, the shortcut of a generator block after its upsampling, and
that of a discriminator block before its pooling, except in the first block, where pooling comes
first (brain-research/self-attention-gan generator.py:78-92, discriminator.py:29-93). Counted are
convolutions, linear maps, attention's two products and the projection's inner product; what
works on single elements (normalisation, activations, resampling, biases) is not. One multiply-add
is two FLOPs.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from models.attention import SelfAttention
from models.blocks import DiscriminatorBlock, GeneratorBlock
from models.configuration import DiscriminatorConfig, GeneratorConfig
from models.discriminator import Discriminator
from models.generator import Generator
from models.layers import Conv1x1, Conv3x3, Embedding, Linear
from models.normalization import BatchNorm, StandingNorm
from models.residual_control import ResidualControl


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """A layer as the papers draw it."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    """Of one image."""
    parameters: int
    """Its own: an attention block's convolutions are layers of their own, it keeps gamma."""
    macs: int
    """Multiply-adds an image, forward."""
    has_weights: bool = True
    """Whether the multiply-adds are with weights, and not of activations with each other."""
    reads_input: bool = False
    """Whether it reads what the network is given, which needs no gradient in its own training."""


def meta_networks(
    generator: GeneratorConfig, discriminator: DiscriminatorConfig
) -> tuple[Generator, Discriminator]:
    """Both networks on the meta device: shapes without memory."""
    with torch.device("meta"):
        return Generator(generator), Discriminator(discriminator)


def generator_layers(G: Generator) -> list[LayerCost]:
    """The layers in the order in which they run; `G` on the meta device."""
    batch = smallest_batch(G.config)
    z = torch.empty(batch, G.config.z_dim, device="meta")
    doubled: set[nn.Module] = {
        block.shortcut for block in G.blocks if isinstance(block, GeneratorBlock)
    }
    return _layers(G, (z, _labels(batch)), {G.linear}, doubled, set())


def discriminator_layers(D: Discriminator) -> list[LayerCost]:
    """The layers in the order in which they run; `D` on the meta device."""
    config = D.config
    x = torch.empty(1, config.image_channels, config.resolution, config.resolution, device="meta")
    blocks = [block for block in D.blocks if isinstance(block, DiscriminatorBlock)]
    first: set[nn.Module] = {m for m in (blocks[0].conv1, blocks[0].shortcut) if m is not None}
    pooled: set[nn.Module] = {
        b.shortcut for b in blocks if b.downsample and b.shortcut and not b.first
    }
    return _layers(D, (x, _labels(1)), first, set(), pooled)


def smallest_batch(config: GeneratorConfig) -> int:
    """Images for which a dry run stands: ghost batches fill no fewer."""
    return config.bn_ghost_batch if config.bn_statistics == "ghost" else 2


def flops_per_image_step(
    g_layers: Iterable[LayerCost],
    d_layers: Iterable[LayerCost],
    *,
    d_steps: int,
    gradient_penalty: bool,
) -> int:
    """FLOPs of training for each real image that D sees.

    An update of D: G forward; D forward and backward on the real image and on a generated one.
    With the gradient penalty also D forward and its input gradient on a mixture of the two, and
    the backward pass through both at twice their cost. An update of G, once for `d_steps` of D and
    on as many images as one of them: G forward and backward, D forward and the gradient of its
    input, but not of its weights.
    """
    g_layers, d_layers = list(g_layers), list(d_layers)
    d_forward = sum(layer.macs for layer in d_layers)
    g_forward = sum(layer.macs for layer in g_layers)
    through_d = d_forward + sum(_input_gradient(layer) for layer in d_layers)
    d_update = g_forward + 2 * (d_forward + _backward(d_layers))
    if gradient_penalty:
        d_update += 3 * through_d
    g_update = g_forward + _backward(g_layers) + through_d
    return 2 * d_update + 2 * g_update // d_steps


def _backward(layers: Iterable[LayerCost]) -> int:
    """Multiply-adds of the gradients of a network's weights."""
    return sum(
        (layer.macs if layer.has_weights else 0)
        + (0 if layer.reads_input else _input_gradient(layer))
        for layer in layers
    )


def _input_gradient(layer: LayerCost) -> int:
    return layer.macs if layer.has_weights else 2 * layer.macs  # a product has two inputs


def _layers(
    network: nn.Module,
    inputs: tuple[torch.Tensor, torch.Tensor],
    readers: set[nn.Module],
    doubled: set[nn.Module],
    pooled: set[nn.Module],
) -> list[LayerCost]:
    """Runs `network` once.

    In the papers `doubled` layers stand after their upsampling and `pooled` ones before their
    pooling; ours run at the smaller size.
    """
    layers: list[LayerCost] = []

    def add(name: str) -> Callable[[nn.Module, Any, torch.Tensor], None]:
        def hook(module: nn.Module, args: Any, output: torch.Tensor) -> None:
            shape = tuple(output.shape[1:])
            if module in doubled:
                shape = (shape[0], 2 * shape[1], 2 * shape[2])
            area = 4 if module in pooled else 1
            layers.append(
                LayerCost(
                    name=name,
                    kind=_kind(module, doubled, pooled),
                    output_shape=shape,
                    parameters=_own_parameters(module),
                    macs=area * _macs(module, shape),
                    has_weights=not isinstance(module, SelfAttention),
                    reads_input=module in readers,
                )
            )

        return hook

    hooks = [
        module.register_forward_hook(add(name))
        for name, module in network.named_modules()
        if isinstance(module, _LAYERS)
    ]
    with torch.no_grad():
        network(*inputs)
    for hook in hooks:
        hook.remove()
    return layers


_LAYERS = (Conv3x3, Conv1x1, Linear, Embedding, StandingNorm, SelfAttention, ResidualControl)


def _own_parameters(module: nn.Module) -> int:
    blocks = isinstance(module, SelfAttention | ResidualControl)
    return sum(p.numel() for p in module.parameters(recurse=not blocks))


def _macs(module: nn.Module, shape: tuple[int, ...]) -> int:
    """Multiply-adds of one image's output of this shape."""
    size = 1
    for side in shape:
        size *= side
    if isinstance(module, Conv3x3):
        return size * module.weight.shape[1] * 9 * (4 if module.resample == "down" else 1)
    if isinstance(module, Conv1x1 | Linear):
        return size * module.weight.shape[1]
    if isinstance(module, Embedding):
        return size  # the inner product with the features
    if isinstance(module, SelfAttention):
        queries = shape[1] * shape[2]
        keys = queries // module.pool**2
        return queries * keys * (module.query.weight.shape[0] + module.value.weight.shape[0])
    return 0


def _kind(module: nn.Module, doubled: set[nn.Module], pooled: set[nn.Module]) -> str:
    if isinstance(module, Conv3x3):
        return {None: "conv 3x3", "up": "up, conv 3x3", "down": "conv 3x3, pool"}[module.resample]
    if isinstance(module, Conv1x1):
        before = "up, " if module in doubled else ""
        return f"{before}conv 1x1{', pool' if module in pooled else ''}"
    if isinstance(module, StandingNorm):
        return "batch norm" if isinstance(module, BatchNorm) else "conditional batch norm"
    if isinstance(module, ResidualControl):
        return "residual control"
    return {Linear: "linear", Embedding: "projection", SelfAttention: "attention"}[type(module)]


def _labels(batch: int) -> torch.Tensor:
    return torch.zeros(batch, dtype=torch.int64, device="meta")
