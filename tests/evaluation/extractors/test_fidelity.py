"""torch-fidelity's other extractors: its own values, from weights of small files."""

import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.core.errors import UserError
from pipeline.evaluation.extractors.fidelity import open_clip, open_dinov2, open_vgg16
from pipeline.evaluation.extractors.torchvision_import import import_torch_fidelity
from pipeline.evaluation.extractors.weights import WeightSources


def _images(count: int, channels: int = 3) -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    return torch.randint(256, (count, channels, 48, 48), generator=random, dtype=torch.uint8)


def _write_vgg16(path: Path) -> None:
    # A number for each output channel, repeated over its inputs: the file holds it once.
    random = torch.Generator().manual_seed(0)
    state = {}
    models = import_torch_fidelity("feature_extractor_vgg16").torchvision.models
    with torch.device("meta"):
        network = models.vgg16(init_weights=False)
    for name, tensor in network.state_dict().items():
        column = torch.randn(len(tensor), *[1] * (tensor.ndim - 1), generator=random)
        state[name] = (column * 2 / tensor[0].numel()).expand(tensor.shape)
    torch.save(state, path)


def test_vgg16_is_torch_fidelitys(tmp_path: Path) -> None:
    path = tmp_path / "vgg16.pth"
    _write_vgg16(path)
    extractor = open_vgg16("vgg16", WeightSources(files={"vgg16": str(path)}), "cpu")
    module = import_torch_fidelity("feature_extractor_vgg16")
    theirs = module.FeatureExtractorVGG16(
        "vgg16", ["fc2_relu"], feature_extractor_weights_path=str(path)
    )
    images = _images(2)
    features, logits = extractor.extract(images)
    torch.testing.assert_close(features, theirs(images)[0])
    assert features.std() > 0
    assert logits.shape == (2, 0)
    assert (extractor.feature_dim, extractor.layer, extractor.official) == (4096, "fc2_relu", False)


class _Clip(nn.Module):
    """The state dict of a CLIP: its image tower, and what of the text tower is looked at."""

    def __init__(self) -> None:
        super().__init__()
        module = import_torch_fidelity("feature_extractor_clip")
        clip = module.CLIPVisual(16, 32, 1, 64, 16)
        torch.manual_seed(0)
        for tensor in clip.parameters():
            nn.init.normal_(tensor, std=0.1)
        self.visual = clip.half().visual
        self.text_projection = nn.Parameter(torch.zeros(8, 16))


def _write_clip(path: Path) -> None:
    # Only its tensors matter, as in the published file.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript as a whole
        torch.jit.trace_module(_Clip(), {}).save(str(path))


def test_clip_is_torch_fidelitys(tmp_path: Path) -> None:
    path = tmp_path / "clip.pt"
    _write_clip(path)
    sources = WeightSources(files={"clip-vit-b-32": str(path)})
    extractor = open_clip("clip-vit-b-32", sources, "cpu")
    module = import_torch_fidelity("feature_extractor_clip")
    theirs = module.FeatureExtractorCLIP(
        "clip-vit-b-32", ["clip"], feature_extractor_weights_path=str(path)
    )
    images = _images(3)
    torch.testing.assert_close(extractor.extract(images)[0], theirs(images)[0])
    assert (extractor.feature_dim, extractor.input_size) == (16, 32)
    rounded = open_clip("clip-vit-b-32-bf16", sources, "cpu")
    error = rounded.extract(images)[0] - theirs(images)[0]
    assert 1e-4 < error.norm() / theirs(images)[0].norm() < 0.05


HUBCONF = """
import torch

def dinov2_vits14(pretrained=True):
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 14, 14), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    )
"""


def test_dinov2_comes_from_what_torch_hub_keeps(hub: Path) -> None:
    repository = hub / "facebookresearch_dinov2_main"
    repository.mkdir(parents=True)
    (repository / "hubconf.py").write_text(HUBCONF, encoding="utf-8")
    extractor = open_dinov2("dinov2-vit-s-14", WeightSources(), "cpu")
    again = open_dinov2("dinov2-vit-s-14-bf16", WeightSources(), "cpu")
    assert extractor.weights_sha256 == again.weights_sha256
    assert (extractor.feature_dim, extractor.official) == (6, True)
    module = import_torch_fidelity("feature_extractor_dinov2")
    theirs = module.FeatureExtractorDinoV2("dinov2-vit-s-14", ["dinov2"])
    images = _images(3)
    torch.testing.assert_close(extractor.extract(images)[0], theirs(images)[0])


def test_what_cannot_be_downloaded_is_one_sentence(hub: Path) -> None:
    message = r"cannot be downloaded from https://.*; set reference.extractor_weights.{} to a file"
    with pytest.raises(UserError, match=message.format("vgg16")):
        open_vgg16("vgg16", WeightSources(), "cpu")
    with pytest.raises(UserError, match=message.format("clip-rn50")):
        open_clip("clip-rn50-bf16", WeightSources(), "cpu")
    with pytest.raises(UserError, match=r"dinov2-vit-b-14 cannot be had through torch.hub \(.*"):
        open_dinov2("dinov2-vit-b-14", WeightSources(), "cpu")
    assert list((hub / "checkpoints").iterdir()) == []


def test_other_files_are_refused(tmp_path: Path, inception_file: Path) -> None:
    files = {"vgg16": str(inception_file), "clip-rn50": str(inception_file)}
    with pytest.raises(UserError, match=r"weights.vgg16: .*torchvision's VGG16: .*Missing"):
        open_vgg16("vgg16", WeightSources(files=files), "cpu")
    with pytest.raises(UserError, match=r"extractor_weights.clip-rn50: .*does not hold .*CLIP"):
        open_clip("clip-rn50", WeightSources(files=files), "cpu")
    no_clip = tmp_path / "net.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(nn.ReLU()).save(str(no_clip))
    with pytest.raises(UserError, match=r"does not hold .*CLIP, as OpenAI publishes clip-rn50"):
        open_clip("clip-rn50", WeightSources(files={"clip-rn50": str(no_clip)}), "cpu")
