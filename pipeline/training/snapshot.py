"""Snapshots of a generator: self-describing safetensors that are ready to be sampled.

Spectral normalisation is folded into the weights and the standing statistics belong to them, so a
snapshot needs neither.
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from models.generator import Generator
from models.normalization import set_standing_statistics
from pipeline.core.randomness import draw_inputs, generator_at
from pipeline.storage.atomic import write_bytes

METADATA_KEY = "sagan-lab/generator/1"
NUM_STANDING_BATCHES = 16
NUM_POWER_ITERATIONS = 5


def prepare_for_sampling(G: Generator, seed: int, nimg: int, batch: int) -> Generator:
    """A copy of `G` in float32 and evaluation mode, a pure function of its weights and arguments.

    Its spectral vectors are iterated for these weights and folded in; its batch statistics are
    standing statistics over 16 batches.
    """
    G = copy.deepcopy(G).requires_grad_(False)
    G.compute_dtype = torch.float32
    if G.spectral is not None:
        G.spectral.power_iteration(NUM_POWER_ITERATIONS)
        G.spectral.bake()
    config = replace(G.config, spectral_norm=False, cbn_spectral_norm=False)
    device = next(G.parameters()).device
    sampled = Generator(config).requires_grad_(False)
    sampled.load_state_dict({k: v for k, v in G.state_dict().items() if ".spectral_" not in k})
    sampled.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    draws = generator_at(seed, "standing-statistics", nimg)
    inputs = (
        (z.to(device), y.to(device))
        for z, y in (
            draw_inputs(draws, batch, config.z_dim, config.num_classes)
            for _ in range(NUM_STANDING_BATCHES)
        )
    )
    set_standing_statistics(sampled, inputs)
    return sampled


def write_snapshot(path: Path, G: Generator, metadata: Mapping[str, Any]) -> None:
    """Writes what `prepare_for_sampling` made; `metadata` holds JSON values."""
    # One key: safetensors writes several in an order that changes from process to process.
    description = {METADATA_KEY: json.dumps({"config": asdict(G.config), **metadata})}
    tensors = {name: tensor.cpu().contiguous() for name, tensor in G.state_dict().items()}
    write_bytes(path, save(tensors, description))
