"""How fast Inception's features come, beside torch-fidelity's own loop on the same images.

Called by `python -m benchmarks.evaluation`. The weights are random: the arithmetic is the same, and
the rounding of bfloat16 is no milder.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_sample_images

from pipeline.config.extractors import BF16
from pipeline.evaluation.executor import ParallelExecutor, blocks_of
from pipeline.evaluation.extractors.extractor import INCEPTION, Extractor
from pipeline.evaluation.extractors.inception import open_inception
from pipeline.evaluation.extractors.torchvision_import import import_torch_fidelity
from pipeline.evaluation.metrics.frechet import fid_of_moments
from pipeline.evaluation.metrics.moments import Moments
from tests.support.inception_weights import write_random_inception

_SIZE = 128  # pixels
_BLOCK = 16
_BATCH = 64  # torch-fidelity's default


class _Images(torch.utils.data.Dataset):
    def __init__(self, images: torch.Tensor) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self._images[index]


def measure(num_images: int = 64, rounds: int = 3) -> dict[str, float]:
    """Rates in images a second, their ratios, and how far features and distances are apart.

    `extraction_vs_torch_fidelity` is the median rate of ours over that of torch-fidelity's, taken
    in turn; `_feature_error` the largest relative error of an image's features; `_fd_change` that
    of the Frechet distance of one half of the images to the other.
    """
    images = _crops_of_photos(num_images)
    fidelity, utils = (
        import_torch_fidelity(name) for name in ("feature_extractor_inceptionv3", "utils")
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pth"
        write_random_inception(path)
        theirs = fidelity.FeatureExtractorInceptionV3(
            INCEPTION, ["2048"], feature_extractor_weights_path=str(path)
        )
        ours = open_inception(str(path), "cpu")
        bf16 = open_inception(str(path), "cpu", name=INCEPTION + BF16)

    def their_loop() -> torch.Tensor:
        features = utils.get_featuresdict_from_dataset(
            _Images(images), theirs, min(_BATCH, num_images), cuda=False, save_cpu_ram=True,
            verbose=False,
        )  # fmt: skip
        return features["2048"]

    ways: dict[str, Callable[[], torch.Tensor]] = {
        "torch_fidelity": their_loop,
        "extraction": lambda: _extract(ours, images),
        "extraction_bf16": lambda: _extract(bf16, images),
    }
    features = {name: way() for name, way in ways.items()}  # the first round is not counted
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - started)
    rates = {name: num_images / statistics.median(spent) for name, spent in seconds.items()}
    result = {f"{name}_images_per_s": rate for name, rate in rates.items()}
    expected = features["torch_fidelity"].double()
    for name in ("extraction", "extraction_bf16"):
        error = (features[name].double() - expected).norm(dim=1) / expected.norm(dim=1)
        distances = [_distance_of_halves(each) for each in (features[name], expected)]
        result |= {
            f"{name}_vs_torch_fidelity": rates[name] / rates["torch_fidelity"],
            f"{name}_feature_error": float(error.max()),
            f"{name}_fd_change": abs(distances[0] / distances[1] - 1),
        }
    return result


def _extract(extractor: Extractor, images: torch.Tensor) -> torch.Tensor:
    # As the stages do: blocks of images, one thread each.
    blocks = blocks_of(len(images), _BLOCK)
    parts: list[torch.Tensor] = []
    ParallelExecutor.on("cpu").for_blocks(
        len(blocks),
        lambda number: extractor.extract(images[blocks[number].start : blocks[number].stop])[0],
        parts.append,
    )
    return torch.cat(parts)


def _distance_of_halves(features: torch.Tensor) -> float:
    half = len(features) // 2
    return fid_of_moments(
        *(Moments.of(part.numpy()) for part in (features[:half], features[half:]))
    )


def _crops_of_photos(count: int) -> torch.Tensor:
    random = np.random.default_rng(0)
    photos = load_sample_images().images
    crops = []
    for index in range(count):
        photo = photos[index % len(photos)]
        top, left = (int(random.integers(side - _SIZE)) for side in photo.shape[:2])
        crops.append(photo[top : top + _SIZE, left : left + _SIZE])
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous()
