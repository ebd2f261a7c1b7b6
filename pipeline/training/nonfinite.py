"""Where a number of a network first was not finite, recorded without synchronising the device."""

import torch
from torch import nn


class NonfiniteRecord:
    """Of one network: the nimg of the first non-finite loss, and of each weight and gradient."""

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self._names = [name for name, _ in network.named_parameters()]
        self._parameters = list(network.parameters())
        # Rows: of weights before an update, of gradients after averaging; -1 where all are finite.
        self._first_nimg = torch.full((2, len(self._names)), -1, device=device)
        self._first_nimg_of_loss = torch.full((), -1, device=device)

    @torch.no_grad()
    def check(self, nimg: int, loss: torch.Tensor) -> None:
        """Looks at the weights, their gradients and this process's own loss () at `nimg`."""
        new = ~torch.isfinite(loss.detach()) & (self._first_nimg_of_loss < 0)
        self._first_nimg_of_loss = torch.where(new, nimg, self._first_nimg_of_loss)
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        norms = torch.stack(torch._foreach_norm([*self._parameters, *gradients]))
        new = ~torch.isfinite(norms.view(2, -1)) & (self._first_nimg < 0)
        self._first_nimg = torch.where(new, nimg, self._first_nimg)

    def first(self) -> tuple[int, str, list[str]] | None:
        """(nimg, whether weight or gradient, parameters) where it began; None if all is finite.

        A non-finite weight explains the gradients of the same update. Synchronises the device.
        """
        found = self._first_nimg.tolist()
        first = min((nimg for row in found for nimg in row if nimg >= 0), default=None)
        if first is None:
            return None
        for kind, row in zip(("the weight", "the gradient of"), found, strict=True):
            names = [name for name, nimg in zip(self._names, row, strict=True) if nimg == first]
            if names:
                return first, kind, names
        raise AssertionError("unreachable")

    def first_of_loss(self) -> int:
        """The nimg of this process's first non-finite loss; -1 if there is none."""
        return int(self._first_nimg_of_loss.item())

    def clear(self) -> None:
        """Discards what was recorded."""
        self._first_nimg.fill_(-1)
        self._first_nimg_of_loss.fill_(-1)
