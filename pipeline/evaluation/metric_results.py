"""Metrics by key, each with the protocol by which it was measured."""

import math
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipeline.evaluation.metrics.intervals import Interval
from pipeline.storage.atomic import write_json

Protocol = Mapping[str, Any]
BY_CLASS = "by_class"
"""Protocol entry with a value for each class, by its name."""


class MetricResults:
    """Metrics by key, each with its protocol entry."""

    def __init__(self, common: Protocol) -> None:
        """`common` stands in every entry."""
        self._common = dict(common)
        self._values: dict[str, float] = {}
        self._protocols: dict[str, dict[str, Any]] = {}
        self._notes: list[str] = []

    def add(
        self, key: str, value: float, protocol: Protocol, interval: Interval | None = None
    ) -> None:
        """Adds a finite number under a new key; `protocol` overrides what is common.

        An interval adds `<key>_ci95_low` and `<key>_ci95_high`, with the same entry but for
        `by_class`.
        """
        assert key not in self._values, key
        if not math.isfinite(value):
            raise ValueError(f"{key} is {value}")
        entry = {**self._common, **protocol}
        if interval is not None:
            entry["interval"] = interval.how
        self._values[key] = float(value)
        self._protocols[key] = entry
        if interval is not None:
            of_ends = {name: part for name, part in entry.items() if name != BY_CLASS}
            for end, bound in (("low", interval.low), ("high", interval.high)):
                self.add(f"{key}_ci95_{end}", bound, of_ends)

    def note(self, sentence: str) -> None:
        """Prints a sentence about the numbers on stderr, once."""
        if sentence not in self._notes:
            self._notes.append(sentence)
            print(f"note: {sentence}", file=sys.stderr)

    @property
    def values(self) -> dict[str, float]:
        """All metrics in the order in which they were added."""
        return dict(self._values)

    @property
    def protocols(self) -> dict[str, dict[str, Any]]:
        """Protocol of each of them, by the same keys."""
        return {key: dict(protocol) for key, protocol in self._protocols.items()}

    def write(self, metrics: Path, protocol: Path) -> None:
        """Writes both files, the metrics last."""
        write_json(protocol, self._protocols)
        write_json(metrics, self._values)


def lines(values: Mapping[str, float]) -> list[str]:
    """Metrics as text, one a line, each with its interval where it has one."""
    shown = []
    for key, value in values.items():
        low, high = (values.get(f"{key}_ci95_{end}") for end in ("low", "high"))
        interval = "" if low is None or high is None else f"  [{low:.4f}, {high:.4f}]"
        if not key.endswith(("_ci95_low", "_ci95_high")):
            shown.append(f"{key:<44} {value:12.4f}{interval}")
    return shown


def by_name(names: Sequence[str], values: npt.NDArray[np.float64]) -> dict[str, float | None]:
    """Values [classes] by the classes' names; None in the place of NaN."""
    pairs = zip(names, values.tolist(), strict=True)
    return {name: None if math.isnan(value) else value for name, value in pairs}


def library_versions() -> dict[str, str]:
    """Versions of the libraries that may move a metric, by distribution."""
    return {
        "torch": torch.__version__,
        "torch-fidelity": version("torch-fidelity"),
        "numpy": np.__version__,
    }
