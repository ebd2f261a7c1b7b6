"""Copies the result of a finished run out of its folder, for the later stages."""

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.discriminator import Discriminator
from models.generator import Generator
from pipeline.runs.run_output import RunOutputs
from pipeline.storage.atomic import atomic_write, write_json, write_text
from pipeline.tracking.jsonl import STATS_NAME, read_stats
from pipeline.training.loop import Summary
from pipeline.training.settings import TrainSettings


def export_run(
    run_dir: Path,
    outputs: RunOutputs,
    settings: TrainSettings,
    metadata: Mapping[str, Any],
    summary: Summary,
    environment: Mapping[str, Any],
    out: Path,
) -> None:
    """Writes snapshots, statistics, sample grids and `config.json`, this last, to `out`.

    Of a run folder that went further only what is not beyond `summary.nimg` is taken.
    """
    out.mkdir(parents=True, exist_ok=True)
    for ema, name in ((True, "generator"), (False, "generator-raw")):
        _copy(outputs.snapshot_path(summary.nimg, ema), out / f"{name}.safetensors")
    statistics, images = read_stats(run_dir / STATS_NAME, up_to_nimg=summary.nimg)
    with torch.device("meta"):  # shapes alone, to count them
        G, D = Generator(settings.generator), Discriminator(settings.discriminator)
    lines = [record.to_line() for record in statistics] + [image.to_line() for image in images]
    write_text(out / STATS_NAME, "".join(lines))
    for image in images:
        _copy(run_dir / image.path, out / image.path)
    write_json(
        out / "config.json",
        {
            **metadata,
            "nimg": summary.nimg,
            "settings": asdict(settings),
            "generator_parameters": _num_parameters(G),
            "discriminator_parameters": _num_parameters(D),
            "train_seconds": round(summary.elapsed_s, 1),
            "environment": dict(environment),
        },
    )


def _num_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _copy(source: Path, target: Path) -> None:
    with atomic_write(target) as temporary:
        shutil.copyfile(source, temporary)
