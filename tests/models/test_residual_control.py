"""The residual control block: number of parameters, initial function, gradients."""

import pytest
import torch

from models.attention import ResidualControl, SelfAttention

pytestmark = pytest.mark.usefixtures("seeded")
FORMS = pytest.mark.parametrize("form", ["released", "paper"])


def _count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@FORMS
def test_has_as_many_parameters_as_attention(form):
    with torch.device("meta"):
        for num_channels in range(1, 513):
            attention = SelfAttention(num_channels, form)
            assert _count(ResidualControl(num_channels, form)) == _count(attention), num_channels


def test_released_form_is_one_3x3_convolution_of_an_eighth():
    for num_channels in (64, 128, 256):
        block = ResidualControl(num_channels)
        assert block.wide.weight.shape == (num_channels // 8, num_channels, 3, 3)
        assert block.narrow is None
        assert block.out.weight.shape == (num_channels, num_channels // 8, 1, 1)


def _block(form: str, num_channels: int, gamma: float) -> ResidualControl:
    block = ResidualControl(num_channels, form).double()
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draws))
        block.gamma.fill_(gamma)
    return block


@FORMS
@pytest.mark.parametrize("num_channels", [5, 12, 24])  # either kind of convolution, and both
def test_values(form, num_channels):
    block = _block(form, num_channels, gamma=0.7)
    x = torch.randn(2, num_channels, 4, 3, dtype=torch.float64)
    kernels = []
    if block.wide is not None:
        kernels.append(block.wide.weight)
    if block.narrow is not None:
        kernels.append(torch.nn.functional.pad(block.narrow.weight, (1, 1, 1, 1)))
    hidden = torch.nn.functional.conv2d(x.clamp(min=0), torch.cat(kernels), padding=1)
    added = torch.einsum("oh,bhij->boij", block.out.weight[:, :, 0, 0], hidden.clamp(min=0))
    torch.testing.assert_close(block(x), x + 0.7 * added)
    assert not torch.equal(block(x), x)


@FORMS
def test_starts_as_identity(form):
    x = torch.randn(2, 16, 4, 3, dtype=torch.float64)
    assert torch.equal(_block(form, 16, gamma=0.0)(x), x)
    assert ResidualControl(16, form).gamma.item() == 0


@FORMS
@pytest.mark.parametrize("gamma", [0.0, 0.7])
def test_gradients(form, gamma):
    block = _block(form, 8, gamma)
    names = [name for name, _ in block.named_parameters()]
    x = torch.randn(1, 8, 3, 3, dtype=torch.float64)

    def run(x: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(block, dict(zip(names, parameters, strict=True)), (x,))

    inputs = (x.requires_grad_(), *(p.detach().requires_grad_() for p in block.parameters()))
    assert torch.autograd.gradcheck(run, inputs)
