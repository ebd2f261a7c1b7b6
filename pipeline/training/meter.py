"""Means of step metrics between two status reports, kept on the device until they are read."""

import time

import torch


class Meter:
    """Accumulates without synchronising; `read` synchronises once and starts afresh."""

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._counts: dict[str, int] = {}
        self._last_read = time.perf_counter()

    def add(self, metrics: dict[str, torch.Tensor]) -> None:
        """Adds the scalars () of one step; a name comes at most once in each step."""
        for name, value in metrics.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1

    def restart_clock(self) -> None:
        """What took time until now was no training."""
        self._last_read = time.perf_counter()

    def read(self, batch: int) -> dict[str, float]:
        """Mean of every metric since the last reading, and the images a second at this batch."""
        means = {name: total.item() / self._counts[name] for name, total in self._sums.items()}
        num_steps = max(self._counts.values(), default=0)
        now = time.perf_counter()
        means["throughput/images_per_s"] = num_steps * batch / (now - self._last_read)
        self._last_read = now
        self._sums.clear()
        self._counts.clear()
        return means
