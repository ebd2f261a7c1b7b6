"""One of the two networks with all that updates it."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Adam

from pipeline.distributed.context import DistContext


class Player:
    """A network, its optimiser and, among several processes, the averaging of its gradients.

    It also remembers where a number first was not finite, without synchronising the device.
    """

    def __init__(
        self, network: nn.Module, optimizer: Adam, context: DistContext, device: torch.device
    ) -> None:
        self.optimizer = optimizer
        self._forward: nn.Module = network
        if context.is_distributed:
            # Its buffers are spectral norm's vectors, equal everywhere, and standing statistics.
            self._forward = DistributedDataParallel(
                network,
                device_ids=[device] if device.type == "cuda" else None,
                forward_sync_buffers=False,
                gradient_as_bucket_view=True,
            )
        self._names = [name for name, _ in network.named_parameters()]
        self._parameters = list(network.parameters())
        # Rows: of weights before an update, of gradients after averaging.
        self._first_broken = torch.full((2, len(self._names)), -1, device=device)
        self._first_broken_loss = torch.full((), -1, device=device)

    def __call__(self, *inputs: torch.Tensor) -> Any:
        """The network's output; a backward pass from it averages gradients over the processes."""
        return self._forward(*inputs)

    def accumulating(self, last: bool) -> AbstractContextManager[None]:
        """Around forward and backward of one part of the batch; that of the last part averages."""
        if last or not isinstance(self._forward, DistributedDataParallel):
            return nullcontext()
        return self._forward.no_sync()

    @torch.no_grad()
    def update(self, nimg: int, lr: float, loss: torch.Tensor) -> None:
        """Moves the weights by the gradients, and clears these; `loss` is this process's own."""
        new = ~torch.isfinite(loss.detach()) & (self._first_broken_loss < 0)
        self._first_broken_loss = torch.where(new, nimg, self._first_broken_loss)
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        norms = torch.stack(torch._foreach_norm([*self._parameters, *gradients]))
        new = ~torch.isfinite(norms.view(2, -1)) & (self._first_broken < 0)
        self._first_broken = torch.where(new, nimg, self._first_broken)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def first_broken(self) -> tuple[int, str, list[str]] | None:
        """(nimg, whether weight or gradient, parameters) where it began; None if all is finite.

        A broken weight explains the gradients that it breaks in the same update.
        """
        found = self._first_broken.tolist()
        first = min((nimg for row in found for nimg in row if nimg >= 0), default=None)
        if first is None:
            return None
        for kind, row in zip(("the weight", "the gradient of"), found, strict=True):
            names = [name for name, nimg in zip(self._names, row, strict=True) if nimg == first]
            if names:
                return first, kind, names
        raise AssertionError("unreachable")

    def first_broken_loss(self) -> int:
        """The nimg where this process's own loss first was not finite; -1 if it always was."""
        return int(self._first_broken_loss.item())

    def load_optimizer(self, state: dict[str, Any]) -> None:
        """Takes over a saved optimiser, and forgets what was broken."""
        self.optimizer.load_state_dict(state)
        self._first_broken.fill_(-1)
        self._first_broken_loss.fill_(-1)
