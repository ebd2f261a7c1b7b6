"""Losses against closed forms on given logits and against finite differences in float64."""

import math

import pytest
import torch

from models.losses import ADVERSARIAL_LOSSES, classification

REAL = [2.0, 0.5, -1.0]
FAKE = [-3.0, 0.25, 2.0]


def _s(x: float) -> float:
    return 1 / (1 + math.exp(-x))


# Discriminator's and generator's loss by the papers' formulas, term by term.
CLOSED_FORMS = {
    "hinge": ((0 + 0.5 + 2) / 3 + (0 + 1.25 + 3) / 3, -(-3 + 0.25 + 2) / 3),
    "non-saturating": (
        -sum(math.log(_s(x)) for x in REAL) / 3 - sum(math.log(1 - _s(x)) for x in FAKE) / 3,
        -sum(math.log(_s(x)) for x in FAKE) / 3,
    ),
    "wasserstein-gp": ((-3 + 0.25 + 2) / 3 - (2 + 0.5 - 1) / 3, -(-3 + 0.25 + 2) / 3),
    "least-squares": (
        ((1 + 0.25 + 4) / 3 + (9 + 0.0625 + 4) / 3) / 2,
        (16 + 0.5625 + 1) / 3 / 2,
    ),
}


def test_every_loss_has_its_closed_form():
    assert set(CLOSED_FORMS) == set(ADVERSARIAL_LOSSES)


@pytest.mark.parametrize("name", ADVERSARIAL_LOSSES)
def test_values(name):
    loss = ADVERSARIAL_LOSSES[name]
    real, fake = (torch.tensor(x, dtype=torch.float64) for x in (REAL, FAKE))
    d_loss, g_loss = CLOSED_FORMS[name]
    assert loss.d(real, fake).item() == pytest.approx(d_loss, rel=1e-12)
    assert loss.g(fake).item() == pytest.approx(g_loss, rel=1e-12)


@pytest.mark.parametrize("name", ADVERSARIAL_LOSSES)
def test_gradients(name):
    loss = ADVERSARIAL_LOSSES[name]
    real, fake = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (REAL, FAKE))
    assert torch.autograd.gradcheck(loss.d, (real, fake))
    assert torch.autograd.gradcheck(loss.g, (fake,))


@pytest.mark.parametrize("name", ADVERSARIAL_LOSSES)
def test_gradients_of_the_networks_are_opposed(name):
    """D raises real and lowers fake logits; G raises fake ones."""
    loss = ADVERSARIAL_LOSSES[name]
    real = torch.full((2,), 0.5, dtype=torch.float64, requires_grad=True)
    fake = torch.full((2,), 0.5, dtype=torch.float64, requires_grad=True)
    d_real, d_fake = torch.autograd.grad(loss.d(real, fake), (real, fake))
    (g_fake,) = torch.autograd.grad(loss.g(fake), fake)
    assert (d_real < 0).all()
    assert (d_fake > 0).all()
    assert (g_fake < 0).all()


def test_hinge_is_flat_beyond_its_margin():
    real = torch.tensor([1.5, -1.5], requires_grad=True)
    fake = torch.tensor([-1.5, 1.5], requires_grad=True)
    ADVERSARIAL_LOSSES["hinge"].d(real, fake).backward()
    assert real.grad.tolist() == [0, -0.5]
    assert fake.grad.tolist() == [0, 0.5]


def test_non_saturating_is_finite_for_sure_logits():
    loss = ADVERSARIAL_LOSSES["non-saturating"]
    real = torch.tensor([-200.0, 200.0], requires_grad=True)
    value = loss.d(real, -real) + loss.g(real)
    value.backward()
    assert value.item() == pytest.approx(300)
    assert real.grad.isfinite().all()


def test_classification():
    logits = torch.tensor([[1.0, 2.0, -1.0], [0.0, 0.0, 3.0]], dtype=torch.float64)
    y = torch.tensor([1, 0])
    expected = 0.0
    for row, label in zip(logits.tolist(), y.tolist(), strict=True):
        expected -= math.log(math.exp(row[label]) / sum(math.exp(x) for x in row)) / 2
    assert classification(logits, y).item() == pytest.approx(expected, rel=1e-12)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda logits: classification(logits, y), (logits,))
    (gradient,) = torch.autograd.grad(classification(logits, y), logits)
    softmax = torch.softmax(logits.detach(), dim=1)
    torch.testing.assert_close(gradient, (softmax - torch.eye(3)[y]) / 2)
