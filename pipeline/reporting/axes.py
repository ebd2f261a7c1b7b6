"""Axes of the page's drawings: where a value stands, and which values are named."""

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Values `low`..`high` on a line from `start` to `end`, user units of an SVG."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    """Whether equal distances are equal ratios; all values are above 0 then."""

    def __call__(self, value: float) -> float:
        return self.start + self.share(value) * (self.end - self.start)

    def share(self, value: float) -> float:
        """How far along a value stands: 0 at `low`, 1 at `high`."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self, count: int) -> list[float]:
        """About so many round values."""
        return _log_ticks(self.low, self.high, count) if self.log else self._even_ticks(count)

    def _even_ticks(self, count: int) -> list[float]:
        raw = (self.high - self.low) / count
        unit = 10.0 ** math.floor(math.log10(raw))
        step = next(m * unit for m in (1, 2, 2.5, 5, 10) if m * unit >= raw)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(i * step, 10) for i in range(first, last + 1)]


def tick_label(value: float) -> str:
    """A tick's value, whole."""
    if value and not 1e-4 < abs(value) < 1e7:
        digits, _, exponent = f"{value:.3e}".partition("e")
        return f"{float(digits):g}e{int(exponent)}".replace("-", "\N{MINUS SIGN}")
    return f"{value:,.10g}".replace("-", "\N{MINUS SIGN}")


def log_scale(values: Iterable[float], start: float, end: float) -> Scale:
    """A logarithmic scale that holds all values, each above 0, with a little room."""
    known = list(values)
    low, high = min(known), max(known)
    room = max((high / low) ** 0.06, 1.02)
    return Scale(low / room, high * room, start, end, log=True)


def _log_ticks(low: float, high: float, count: int) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for steps in ((1,), (1, 3), (1, 2, 5), range(1, 10)):
        ticks = [
            float(f"{step}e{decade}")
            for decade in decades
            for step in steps
            if low <= float(f"{step}e{decade}") <= high
        ]
        if len(ticks) >= min(count, 3):
            return ticks
    # Less than a factor of two apart: a logarithm is as good as straight.
    return Scale(low, high, 0, 1).ticks(count) if len(ticks) < 2 else ticks
