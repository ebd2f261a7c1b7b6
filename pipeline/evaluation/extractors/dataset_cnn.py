"""`dataset-cnn`: the small classifier whose features score images of its own data set.

It is trained on the training split; held-out and generated images are not in its training.
"""

import json
import math
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from pipeline.core.errors import UserError
from pipeline.core.images import from_uint8
from pipeline.core.randomness import generator_at
from pipeline.data.loading.batches import Batches
from pipeline.data.loading.order import GlobalOrder
from pipeline.data.shards.reader import Dataset, Rows
from pipeline.distributed.context import DistContext
from pipeline.evaluation.extractors.extractor import DATASET_CNN, Extractor
from pipeline.storage.atomic import atomic_write, write_bytes
from pipeline.storage.digest import sha256_file

FEATURE_DIM = 64
FORMAT = "sagan-lab/dataset-cnn/1"
BATCH = 64
PEAK_LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.01
_SCORE_BATCH = 250
MAX_SHIFT = 0.1
"""Of half the image's side."""
MAX_ROTATION = math.radians(10)
MAX_SCALE = 0.1
"""Relative to 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetCnnConfig:
    """What decides the shape of the network."""

    resolution: int
    """Side of the images, pixels; a multiple of 32."""
    channels: int
    """1 (grey) or 3 (RGB)."""
    num_classes: int
    """Number of outputs."""


class DatasetCnn(nn.Module):
    """Four convolutions or more, each with batch norm; the last one's mean is the feature vector.

    The last convolution works on 4x4 at any resolution: more pixels add convolutions in front.
    """

    def __init__(self, config: DatasetCnnConfig) -> None:
        super().__init__()
        self.config = config
        layers = [_convolution(config.channels, 24, size=5, stride=2)]
        for _ in range((config.resolution // 32).bit_length() - 1):
            layers += [nn.MaxPool2d(2), _convolution(24, 24)]
        layers += [_convolution(24, 48), nn.MaxPool2d(2)]
        layers += [_convolution(48, 64), nn.MaxPool2d(2)]
        layers += [_convolution(64, FEATURE_DIM)]
        self.convolutions = nn.Sequential(*layers)
        self.classifier = nn.Linear(FEATURE_DIM, config.num_classes)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """float (B, C, R, R) in [-1, 1] -> features (B, 64) >= 0 and logits (B, num_classes)."""
        x = self.convolutions(images.contiguous(memory_format=torch.channels_last))  # (B, 64, 4, 4)
        features = x.mean(dim=(2, 3))
        return features, self.classifier(features)

    def initialize(self, generator: torch.Generator) -> None:
        """Draws all weights anew (He et al. 2015, equation 10)."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


class _Convolution(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, size: int, stride: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(
            in_channels, out_channels, size, stride, padding=size // 2, bias=False
        )
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, in, S, S) -> (B, out, S / stride, S / stride)."""
        return F.relu(self.norm(self.convolution(x)))


def _convolution(in_channels: int, out_channels: int, size: int = 3, stride: int = 1) -> nn.Module:
    return _Convolution(in_channels, out_channels, size, stride)


def write_dataset_cnn(path: Path, network: DatasetCnn, facts: Mapping[str, Any]) -> None:
    """Writes weights and description; equal arguments give equal bytes. `facts` are JSON values."""
    description = {"format": FORMAT, "config": asdict(network.config), **facts}
    tensors = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    with atomic_write(path) as temporary:
        # One entry: safetensors writes several in an order that changes from process to process.
        save_file(tensors, temporary, {"description": json.dumps(description, sort_keys=True)})


def read_dataset_cnn(path: Path, device: str) -> tuple[DatasetCnn, dict[str, Any]]:
    """The network in evaluation mode and its facts; raises UserError for a file that is not one."""
    if not path.is_file():
        raise UserError(f"{path} does not exist; `dvc repro reference` trains it")
    try:
        with safe_open(path, framework="pt") as file:
            description = json.loads((file.metadata() or {}).get("description", "{}"))
            if description.pop("format", None) != FORMAT:
                raise UserError(f"{path} is not a classifier of format {FORMAT}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        network = DatasetCnn(DatasetCnnConfig(**description.pop("config")))
        network.load_state_dict(tensors)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path} is damaged ({reason}); train it anew with `dvc repro --force reference`"
        ) from None
    network.to(device).requires_grad_(False).eval()
    return network, description


def open_dataset_cnn(path: Path, device: str) -> Extractor:
    """The extractor of a weights file that the reference stage wrote; raises UserError."""
    network, _ = read_dataset_cnn(path, device)

    @torch.inference_mode()
    def extract(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features, logits = network(from_uint8(images.permute(0, 2, 3, 1).to(device)))
        return features.cpu(), logits.cpu()

    return Extractor(
        name=DATASET_CNN,
        weights_sha256=sha256_file(path),
        official=False,
        feature_dim=FEATURE_DIM,
        resize="none",
        extract=extract,
    )


def train_dataset_cnn(
    rows: Rows, config: DatasetCnnConfig, *, epochs: int, seed: int, device: str
) -> DatasetCnn:
    """A classifier in evaluation mode, trained with AdamW under a one-cycle schedule.

    On a CPU with a given number of threads it is a pure function of its arguments.
    """
    network = DatasetCnn(config)
    network.initialize(generator_at(seed, "dataset-cnn-weights"))
    network.to(device).train()
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=WEIGHT_DECAY
    )
    num_batches = math.ceil(epochs * len(rows) / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_LEARNING_RATE, total_steps=max(2, num_batches)
    )
    draws = generator_at(seed, "dataset-cnn-augmentation")
    with Batches(rows, GlobalOrder(seed, len(rows)), BATCH, start=0) as batches:
        for _ in range(num_batches):
            images, labels = batches.next_batch()
            augmented = random_affine(from_uint8(images.to(device)), draws)
            _, logits = network(augmented)
            loss = F.cross_entropy(logits, labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.requires_grad_(False).eval()


@torch.inference_mode()
def classification_accuracy(network: DatasetCnn, rows: Rows, device: str) -> float | None:
    """Share of the rows that `network` classifies as they are labelled; None without rows."""
    if len(rows) == 0:
        return None
    num_correct = 0
    for start in range(0, len(rows), _SCORE_BATCH):
        index = np.arange(start, min(start + _SCORE_BATCH, len(rows)))
        _, logits = network(from_uint8(torch.from_numpy(rows.gather(index)).to(device)))
        num_correct += int((logits.argmax(dim=1).cpu().numpy() == rows.labels[index]).sum())
    return num_correct / len(rows)


def train_own_classifier(
    dataset: Dataset, path: Path, *, epochs: int, seed: int, device: str
) -> dict[str, Any]:
    """Writes the classifier's weights to `path`; returns how it was trained."""
    manifest = dataset.manifest
    config = DatasetCnnConfig(
        resolution=manifest.resolution,
        channels=manifest.channels,
        num_classes=len(manifest.class_names),
    )
    start = time.monotonic()
    network = train_dataset_cnn(dataset.train, config, epochs=epochs, seed=seed, device=device)
    elapsed_s = time.monotonic() - start
    facts = {
        "dataset_digest": manifest.digest,
        "seed": seed,
        "epochs": epochs,
        "num_train": len(dataset.train),
        "num_heldout": len(dataset.heldout),
        "heldout_accuracy": classification_accuracy(network, dataset.heldout, device),
    }
    write_dataset_cnn(path, network, facts)
    accuracy = facts["heldout_accuracy"]
    print(
        f"dataset-cnn: trained on {len(dataset.train)} images for {epochs} epochs in "
        f"{elapsed_s:.1f} s, "
        + (
            "no held-out images to measure it on"
            if accuracy is None
            else f"right on {accuracy:.1%} of {len(dataset.heldout)} held-out images"
        )
    )
    return facts


def broadcast_dataset_cnn(path: Path | None, device: str, context: DistContext) -> Extractor:
    """The extractor of the main process's weights file, on all processes. A collective."""
    content = context.from_main(None if path is None else path.read_bytes())
    if path is not None:
        return open_dataset_cnn(path, device)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "weights.safetensors"
        write_bytes(copy, content)
        return open_dataset_cnn(copy, device)


def random_affine(images: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
    """Each image (B, C, H, W) moved on its own, bilinearly; the border's pixels fill what opens."""
    uniform = 2 * torch.rand(4, len(images), generator=draws) - 1  # CPU: the same on every device
    shift_x, shift_y = MAX_SHIFT * uniform[:2]
    angle, scale = MAX_ROTATION * uniform[2], 1 + MAX_SCALE * uniform[3]
    cos, sin = scale * angle.cos(), scale * angle.sin()
    rows = [torch.stack([cos, -sin, shift_x], dim=1), torch.stack([sin, cos, shift_y], dim=1)]
    transform = torch.stack(rows, dim=1).to(images.device)  # (B, 2, 3)
    grid = F.affine_grid(transform, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
