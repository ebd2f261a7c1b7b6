"""Inception's features: those of torch-fidelity, whatever the images."""

from pathlib import Path
from threading import Thread

import pytest
import torch

from pipeline.config.extractors import BF16
from pipeline.evaluation.extractors.extractor import INCEPTION
from pipeline.evaluation.extractors.inception import open_inception, resize_as_tensorflow1
from pipeline.evaluation.extractors.torchvision_import import import_torch_fidelity


def _images(count: int, channels: int, height: int, width: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(height * width)
    shape = (count, channels, height, width)
    return torch.randint(256, shape, generator=random, dtype=torch.uint8)


@pytest.fixture(scope="module")
def theirs(inception_file: Path) -> torch.nn.Module:
    """torch-fidelity's own extractor of the same weights."""
    fidelity = import_torch_fidelity("feature_extractor_inceptionv3")
    network: torch.nn.Module = fidelity.FeatureExtractorInceptionV3(
        INCEPTION, ["2048", "logits_unbiased"], feature_extractor_weights_path=str(inception_file)
    )
    return network


@pytest.mark.parametrize(
    ("count", "channels", "height", "width"),
    [(5, 3, 32, 32), (1, 1, 28, 28), (2, 3, 128, 128), (1, 3, 299, 299), (2, 3, 401, 300)],
)
def test_values_are_those_of_torch_fidelity(
    theirs: torch.nn.Module,
    inception_file: Path,
    count: int,
    channels: int,
    height: int,
    width: int,
) -> None:
    images = _images(count, channels, height, width)
    ours = open_inception(str(inception_file), "cpu").extract(images)
    for found, expected in zip(ours, theirs(images.expand(-1, 3, -1, -1)), strict=True):
        assert found.dtype == torch.float32
        assert (found - expected).norm() < 3e-6 * expected.norm()


def test_bfloat16_is_near_and_says_what_it_is(inception_file: Path) -> None:
    images = _images(4, 3, 64, 64)
    exact = open_inception(str(inception_file), "cpu")
    rounded = open_inception(str(inception_file), "cpu", name=INCEPTION + BF16)
    features, expected = rounded.extract(images)[0], exact.extract(images)[0]
    assert 1e-4 < (features - expected).norm() / expected.norm() < 0.02
    assert rounded.describe() == {
        **exact.describe(),
        "extractor": "inception-v3-compat-bf16",
        "precision": "bf16",
    }


def test_threads_may_share_an_extractor(inception_file: Path) -> None:
    images = _images(8, 3, 32, 32)
    extractor = open_inception(str(inception_file), "cpu")
    found: dict[int, torch.Tensor] = {}

    def work(start: int) -> None:
        torch.set_num_threads(1)
        found[start] = extractor.extract(images[start : start + 4])[0]

    threads = [Thread(target=work, args=(start,)) for start in (0, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    together = open_inception(str(inception_file), "cpu").extract(images)[0]
    assert (torch.cat([found[0], found[4]]) - together).norm() < 1e-5 * together.norm()


@pytest.mark.parametrize("size", [(1, 7), (32, 32), (299, 299), (300, 640)])
def test_the_resize_is_that_of_tensorflow_1(size: tuple[int, int]) -> None:
    compat = import_torch_fidelity("interpolate_compat_tensorflow")
    images = _images(2, 3, *size)
    expected = compat.interpolate_bilinear_2d_like_tensorflow1x(
        images.float(), size=(299, 299), align_corners=False
    )
    # Of 255: the order of additions differs, positions and weights do not.
    assert (resize_as_tensorflow1(images, 299) - expected).abs().max() < 1e-4
