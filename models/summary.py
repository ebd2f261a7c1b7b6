"""Prints what a system costs: layers, parameters, FLOPs of training, memory.

`python -m models.summary --variant sagan-feat64 --resolution 128 --classes 1000`. Nothing is
allocated or trained. A step is one update of D on a batch of real images and its share of G's
update; FLOPs are two for each multiply-add.
"""

import argparse
import json
import sys
from dataclasses import asdict
from typing import Any, NoReturn

import torch

from models.cost import (
    LayerCost,
    discriminator_layers,
    flops_per_image_step,
    generator_layers,
    meta_networks,
)
from models.measured_cost import measure_d_update, measure_g_update
from models.networks import discriminator_config, generator_config
from models.summary_text import summary_text
from models.variants import VARIANTS, System, at_resolution

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
WEIGHT_BYTES = 4  # weights, gradients, Adam's moments and the average are float32 in both

_LARGEST = 2**20  # beyond, sizes of tensors would overflow


def summarize(
    system: System,
    *,
    resolution: int,
    num_classes: int,
    width: int,
    image_channels: int,
    z_dim: int,
    precision: str,
) -> dict[str, Any]:
    """The summary as plain data; `system` has its places in numbers. See `--help` for its keys.

    Raises ValueError for what no network can be.
    """
    sizes = {
        "resolution": resolution,
        "image_channels": image_channels,
        "num_classes": num_classes,
        "width": width,
    }
    G, D = meta_networks(
        generator_config(system, **sizes, z_dim=z_dim), discriminator_config(system, **sizes)
    )
    G.compute_dtype = D.compute_dtype = PRECISIONS[precision]
    g_layers, d_layers = generator_layers(G), discriminator_layers(D)
    d_update = measure_d_update(G, D, system.loss)
    g_update = measure_g_update(G, D, system.loss)
    updates = (d_update, g_update)
    generator, discriminator = _network(g_layers), _network(d_layers)
    parameters = generator["parameters"] + discriminator["parameters"]
    return {
        "resolution": resolution,
        "classes": num_classes,
        "width": width,
        "image_channels": image_channels,
        "z_dim": z_dim,
        "precision": precision,
        "d_steps": system.d_steps,
        "generator": generator,
        "discriminator": discriminator,
        "flops_per_image_step": flops_per_image_step(
            g_layers,
            d_layers,
            d_steps=system.d_steps,
            gradient_penalty=system.loss == "wasserstein-gp",
        ),
        "executed_flops_per_image_step": d_update.flops_per_image
        + g_update.flops_per_image // system.d_steps,
        "executed_flops_constant_per_step": d_update.flops_constant
        + g_update.flops_constant // system.d_steps,
        "activation_bytes_per_image": max(u.saved_bytes_per_image for u in updates),
        "activation_bytes_per_image_fused_attention": max(
            u.saved_bytes_per_image - u.attention_bytes_per_image for u in updates
        ),
        "activation_bytes_per_image_d_update": d_update.saved_bytes_per_image,
        "activation_bytes_per_image_g_update": g_update.saved_bytes_per_image,
        "activation_bytes_constant": max(u.saved_bytes_constant for u in updates),
        "weight_bytes": WEIGHT_BYTES * parameters,
        "gradient_bytes": WEIGHT_BYTES * parameters,
        "optimizer_state_bytes": 2 * WEIGHT_BYTES * parameters,
        "ema_bytes": WEIGHT_BYTES * generator["parameters"] if system.ema else 0,
    }


def memory_at(summary: dict[str, Any], batch: int) -> dict[str, int]:
    """Bytes when `batch` images go through at once: weights, what goes with them, activations."""
    fixed = sum(
        summary[f"{kind}_bytes"] for kind in ("weight", "gradient", "optimizer_state", "ema")
    )
    fixed += summary["activation_bytes_constant"]
    return {
        "memory_bytes": fixed + batch * summary["activation_bytes_per_image"],
        "memory_bytes_fused_attention": fixed
        + batch * summary["activation_bytes_per_image_fused_attention"],
    }


def _check_batch(system: System, batch: int) -> None:
    if system.bn_statistics == "ghost" and batch % system.bn_ghost_batch != 0:
        raise ValueError(
            f"--batch {batch} does not divide into the variant's ghost batches of "
            f"{system.bn_ghost_batch} images; make it a multiple"
        )


def _network(layers: list[LayerCost]) -> dict[str, Any]:
    shown = ("name", "kind", "output_shape", "parameters", "macs")
    return {
        "parameters": sum(layer.parameters for layer in layers),
        "macs": sum(layer.macs for layer in layers),
        "layers": [{key: asdict(layer)[key] for key in shown} for layer in layers],
    }


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One sentence, without the usage."""
        print(f"error: {message}", file=sys.stderr)
        sys.exit(2)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m models.summary",
        description=__doc__,
        epilog=_EPILOG.format(variants=", ".join(VARIANTS)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--variant", default="sagan", help="system, one of those below (default: sagan)")
    add("--resolution", type=int, default=128, help="side of the images (default: 128)")
    add("--classes", type=int, default=1000, help="number of classes (default: 1000)")
    add("--width", type=int, default=64, help="channels of multiple 1 (default: 64, as published)")
    add("--image-channels", type=int, default=3, help="3 colour, 1 grey (default: 3)")
    add("--z-dim", type=int, default=128, help="length of the latents (default: 128)")
    add("--precision", choices=PRECISIONS, default="fp32", help="of activations (default: fp32)")
    add("--batch", type=int, help="images that go through at once: adds the memory")
    add("--json", action="store_true", help="print JSON instead of tables")
    return parser


_EPILOG = """\
keys of --json
  parameters, macs            of a network; macs are multiply-adds an image, forward
  flops_per_image_step        training, for each real image, as the papers draw the networks: D on
                              a real and a generated image, and 1/d_steps of an update of G
  executed_flops_per_image_step
                              the same as run here, resampling folded into convolutions; what an
                              update costs at any batch is executed_flops_constant_per_step
  activation_bytes_per_image  kept for the backward pass by the larger of the two updates, with
                              attention's weights, as on a CPU; ..._fused_attention without them,
                              as on a GPU whose kernels take the sizes (computed, not measured)
  activation_bytes_constant   normalised weights and folded kernels, at any batch
  weight_bytes, gradient_bytes, optimizer_state_bytes, ema_bytes
                              float32: both networks, their gradients, Adam's two moments, G's
                              average; one process alone keeps one network's gradients at a time
  memory_bytes                with --batch: the sum; workspaces and the allocator come on top

variants
  {variants}
"""


def main(arguments: list[str] | None = None) -> None:
    """The command; exits 2 with one sentence for a mistake."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    for name in ("classes", "width", "image_channels", "z_dim", "batch"):
        value = getattr(chosen, name)
        if value is not None and not 1 <= value <= _LARGEST:
            flag = name.replace("_", "-")
            parser.error(f"--{flag} {value} should be at least 1 and at most {_LARGEST}")
    try:
        system = at_resolution(chosen.variant, chosen.resolution)
        if chosen.batch is not None:
            _check_batch(system, chosen.batch)
        summary = summarize(
            system,
            resolution=chosen.resolution,
            num_classes=chosen.classes,
            width=chosen.width,
            image_channels=chosen.image_channels,
            z_dim=chosen.z_dim,
            precision=chosen.precision,
        )
    except ValueError as error:
        parser.error(str(error))
    summary = {"variant": chosen.variant, **summary}
    if chosen.batch is not None:
        summary |= {"batch": chosen.batch, **memory_at(summary, chosen.batch)}
    print(json.dumps(summary, indent=2) if chosen.json else summary_text(summary))


if __name__ == "__main__":
    main()
