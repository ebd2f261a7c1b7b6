"""Keeps torch's compiler out of processes that compile nothing."""

import inspect

import torch
from torch.optim import Adam, AdamW, Optimizer

# What torch 2.13 shields by torch._disable_dynamo (torch/optim/optimizer.py, torch/_compile.py).
_SHIELDED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


def use_plain_optimizers() -> None:
    """Lets Adam and AdamW do the same without `torch._dynamo`; for all of this process.

    By default the first of them imports it, and sympy with it, only to tell a compiler that nobody
    starts to stay away: over a second of each start and resume. Steps are then never
    `differentiable`. With a torch that shields nothing so, it does nothing.
    """
    for name in _SHIELDED:
        method = getattr(getattr(Optimizer, name), "__wrapped__", None)
        if method is not None:
            method.__dynamo_disable = method
    for kind in (Adam, AdamW):
        if "step" in vars(kind):
            kind.step = torch.no_grad()(inspect.unwrap(kind.step))  # type: ignore[method-assign]
