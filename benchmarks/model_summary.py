"""Parameters and FLOPs of a system: `python -m benchmarks.model_summary --variant sagan`.

Both updates of a training step run on the meta device, which computes shapes alone, under torch's
`FlopCounterMode`: matrix products and convolutions count, two FLOPs for each multiply-add;
elementwise operations, normalisation and resampling do not. A step is one update of D on B real
and B generated images and 1/d_steps of an update of G; its cost is
B * flops_per_image_step + flops_constant_per_step (spectral normalisation).
"""

import argparse
import json
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from models.blocks import DiscriminatorBlock, GeneratorBlock
from models.configuration import discriminator_config, generator_config
from models.discriminator import Discriminator
from models.generator import Generator
from models.layers import Conv3x3
from models.resampling import downsample, upsample
from models.variants import VARIANTS, System, at_resolution


def summarize(
    system: System, *, resolution: int, num_classes: int, width: int, z_dim: int = 128
) -> dict[str, Any]:
    """Parameters and forward FLOPs by module, and FLOPs of a training step, for colour images.

    `system` has its attention sizes resolved. `unfolded_flops_per_image_step` is the same for the
    networks as published, see `unfold`. Raises ValueError for sizes that no network has.
    """
    sizes = {
        "resolution": resolution,
        "image_channels": 3,
        "num_classes": num_classes,
        "width": width,
    }
    with torch.device("meta"):
        G = Generator(generator_config(system, **sizes, z_dim=z_dim))
        D = Discriminator(discriminator_config(system, **sizes))
    unit = _unit(G)
    summary = {
        "generator": _network(G, lambda batch: _generate(G, batch), unit),
        "discriminator": _network(D, lambda batch: D(*_real(G, batch)), unit),
    }
    per_image, constant = step_flops(G, D, system.d_steps)
    summary |= {"flops_per_image_step": per_image, "flops_constant_per_step": constant}
    unfold(G)
    unfold(D)
    summary["unfolded_flops_per_image_step"], _ = step_flops(G, D, system.d_steps)
    return summary


def step_flops(G: Generator, D: Discriminator, d_steps: int) -> tuple[int, int]:
    """FLOPs of a training step of networks on the meta device: for each image, and constant."""
    unit = _unit(G)
    d_per_image, d_constant = _line(lambda batch: _flops(lambda: d_update(G, D, batch)), unit)
    g_per_image, g_constant = _line(lambda batch: _flops(lambda: g_update(G, D, batch)), unit)
    return d_per_image + g_per_image // d_steps, d_constant + g_constant // d_steps


def d_update(G: Generator, D: Discriminator, batch: int) -> None:
    """The products of an update of D; the losses have none and are left out."""
    with torch.no_grad():
        fake = _generate(G, batch)
    real, y = _real(G, batch)
    _power_iteration(D)
    _backward(D(torch.cat([real, fake]), torch.cat([y, y])))


def g_update(G: Generator, D: Discriminator, batch: int) -> None:
    """The products of an update of G, in which D's weights get no gradients."""
    _power_iteration(G)
    D.requires_grad_(False)
    _backward(D(_generate(G, batch), _real(G, batch)[1]))
    D.requires_grad_(True)


def unfold(network: nn.Module) -> None:
    """Runs convolutions at the sizes of the published networks; the outputs stay the same.

    There a 3x3 convolution beside a resampling runs at the larger size, and so do the 1x1
    convolutions of shortcuts but for D's first block (brain-research/self-attention-gan
    generator.py:78-92, discriminator.py:29-93).
    """
    for module in list(network.modules()):
        if isinstance(module, Conv3x3):
            if module.resample == "up":
                _before(module, upsample)
            elif module.resample == "down":
                _after(module, downsample)
            module.resample = None
        pools = isinstance(module, DiscriminatorBlock) and module.downsample and not module.first
        if isinstance(module, GeneratorBlock) or pools:
            _before(module.shortcut, upsample)
            _after(module.shortcut, downsample)


def _before(module: nn.Module, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
    module.register_forward_pre_hook(lambda module, inputs: function(*inputs))


def _after(module: nn.Module, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
    module.register_forward_hook(lambda module, inputs, output: function(output))


def _generate(G: Generator, batch: int) -> torch.Tensor:
    z = torch.empty(batch, G.config.z_dim, device="meta")
    return G(z, torch.empty(batch, dtype=torch.int64, device="meta"))


def _real(G: Generator, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    side = G.config.resolution
    images = torch.empty(batch, G.config.image_channels, side, side, device="meta")
    return images, torch.empty(batch, dtype=torch.int64, device="meta")


def _power_iteration(network: Generator | Discriminator) -> None:
    if network.spectral is not None:
        network.spectral.power_iteration()


def _backward(logits: tuple[torch.Tensor, torch.Tensor | None]) -> None:
    sum(values.sum() for values in logits if values is not None).backward()


def _flops(run: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def _line(flops: Callable[[int], int], unit: int) -> tuple[int, int]:
    """Slope and intercept of FLOPs over the batch."""
    one, two = flops(unit), flops(2 * unit)
    return (two - one) // unit, 2 * one - two


def _unit(G: Generator) -> int:
    """Ghost batches must divide a batch."""
    return G.config.bn_ghost_batch if G.config.bn_statistics == "ghost" else 2


def _network(network: nn.Module, forward: Callable[[int], object], unit: int) -> dict[str, Any]:
    """Totals, and a row for each module that has parameters of its own.

    FLOPs are those of one image, forward; a module's include its inner modules'.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        forward(unit)
    counts = counter.get_flop_counts()
    rows = []
    for name, module in network.named_modules():
        own = sum(p.numel() for p in module.parameters(recurse=False))
        if own:
            flops = sum(counts.get(f"{type(network).__name__}.{name}", {}).values())
            rows.append(
                {
                    "name": name,
                    "type": type(module).__name__,
                    "parameters": own,
                    "flops": flops // unit,
                }
            )
    with torch.no_grad():
        flops, _ = _line(lambda batch: _flops(lambda: forward(batch)), unit)
    return {
        "parameters": sum(row["parameters"] for row in rows),
        "flops": flops,
        "modules": rows,
    }


def _text(summary: dict[str, Any]) -> str:
    lines = []
    for name in ("generator", "discriminator"):
        network = summary[name]
        total = {"name": "total", "type": "", **network}
        lines.append(f"{name:<26} {'type':<21} {'parameters':>12} {'forward FLOPs':>16}")
        lines += [
            f"{row['name']:<26} {row['type']:<21} {row['parameters']:>12,} {row['flops']:>16,}"
            for row in (*network["modules"], total)
        ]
        lines.append("")
    lines += [
        f"{key:<32} {summary[key] / 1e9:>9.4g} GFLOP"
        for key in (
            "flops_per_image_step",
            "flops_constant_per_step",
            "unfolded_flops_per_image_step",
        )
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--variant", default="sagan", help=f"one of {', '.join(VARIANTS)} (default: sagan)")
    add("--resolution", type=int, default=128, help="side of the images (default: 128)")
    add("--classes", type=int, default=1000, help="number of classes (default: 1000)")
    add("--width", type=int, default=64, help="channels of multiple 1 (default: 64, as published)")
    add("--z-dim", type=int, default=128, help="length of the latents (default: 128)")
    add("--json", action="store_true", help="print one JSON object instead of tables")
    chosen = parser.parse_args(arguments)
    try:
        summary = summarize(
            at_resolution(chosen.variant, chosen.resolution),
            resolution=chosen.resolution,
            num_classes=chosen.classes,
            width=chosen.width,
            z_dim=chosen.z_dim,
        )
    except ValueError as error:
        parser.error(str(error))
    print(json.dumps(summary) if chosen.json else _text(summary))


if __name__ == "__main__":
    main()
