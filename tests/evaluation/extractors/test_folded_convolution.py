"""A folded convolution is the three operations that it stands for."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pipeline.evaluation.extractors.inception import FoldedConvolution


@pytest.fixture(params=["onednn", "torch"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """oneDNN's own operations, and torch's where there are none."""
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", request.param == "onednn")


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "groups"),
    [((3, 3), 2, 0, 1), ((1, 7), 1, (0, 3), 1), ((1, 1), 1, 0, 1), ((3, 3), 1, 1, 4)],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_convolution_normalisation_and_relu(
    kernel: tuple[int, int],
    stride: int,
    padding: int | tuple[int, int],
    groups: int,
    dtype: torch.dtype,
) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(8, 12, kernel, stride, padding, groups=groups, bias=False)
    norm = nn.BatchNorm2d(12, eps=1e-3).eval()
    for tensor in (norm.weight, norm.bias, norm.running_mean):
        assert tensor is not None
        nn.init.normal_(tensor)
    assert norm.running_var is not None
    nn.init.uniform_(norm.running_var, 0.5, 2)
    x = torch.randn(3, 8, 17, 17)
    with torch.no_grad():
        expected = F.relu(norm(convolution(x)))
        folded = FoldedConvolution(convolution, norm, dtype)
        for count in (3, 1):  # a batch may be shorter than the first one
            found = folded(x[:count].to(dtype, memory_format=torch.channels_last)).float()
            error = (found - expected[:count]).norm() / expected[:count].norm()
            assert error < (2e-6 if dtype == torch.float32 else 0.02)
