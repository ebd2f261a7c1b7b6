"""Trains `dataset-cnn` on the training split; it sees neither held-out nor generated images."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from pipeline.core.images import from_uint8
from pipeline.core.randomness import generator_at
from pipeline.data.loading.batches import Batches
from pipeline.data.loading.order import GlobalOrder
from pipeline.data.shards.reader import Rows
from pipeline.evaluation.extractors.augmentation import random_affine
from pipeline.evaluation.extractors.dataset_cnn import DatasetCnn, DatasetCnnConfig

BATCH = 64
PEAK_LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.01
_SCORE_BATCH = 250


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
def measure_accuracy(network: DatasetCnn, rows: Rows, device: str) -> float | None:
    """Share of the rows that `network` classifies as they are labelled; None without rows."""
    if len(rows) == 0:
        return None
    num_correct = 0
    for start in range(0, len(rows), _SCORE_BATCH):
        index = np.arange(start, min(start + _SCORE_BATCH, len(rows)))
        _, logits = network(from_uint8(torch.from_numpy(rows.gather(index)).to(device)))
        num_correct += int((logits.argmax(dim=1).cpu().numpy() == rows.labels[index]).sum())
    return num_correct / len(rows)
