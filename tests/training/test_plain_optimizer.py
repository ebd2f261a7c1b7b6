"""Optimisers do the same without torch's compiler."""

import sys
from typing import Any

import pytest
import torch
from torch.optim import Adam, AdamW, Optimizer

from pipeline.training.plain_optimizer import use_plain_optimizers


def _train(kind: type[Optimizer]) -> tuple[torch.Tensor, dict[str, Any]]:
    """A weight and the optimiser's state after four steps, two of them after a resume."""
    weight = torch.nn.Parameter(torch.linspace(-1, 1, 12))
    state = None
    for _ in range(2):
        optimizer = kind([weight], lr=0.1, fused=True)  # type: ignore[call-arg]
        if state is not None:
            optimizer.load_state_dict(state)
        for _ in range(2):
            weight.pow(3).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        state = optimizer.state_dict()
    assert state is not None
    return weight.detach(), state["state"][0]


@pytest.mark.parametrize("kind", [Adam, AdamW])
def test_the_same_steps_need_no_compiler(
    kind: type[Optimizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    weight, state = _train(kind)
    use_plain_optimizers()
    monkeypatch.setitem(sys.modules, "torch._dynamo", None)  # importing it is an error
    plain_weight, plain_state = _train(kind)
    assert torch.equal(plain_weight, weight)
    assert state.keys() == plain_state.keys() == {"step", "exp_avg", "exp_avg_sq"}
    assert all(torch.equal(plain_state[name], state[name]) for name in state)
    assert not torch.equal(weight, torch.linspace(-1, 1, 12))
