"""Numbers that cannot be had without the protocol that made them."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.storage.atomic import write_json

Protocol = Mapping[str, Any]


class Measurements:
    """Metrics by key, each with its protocol entry."""

    def __init__(self, common: Protocol) -> None:
        """`common` stands in every entry."""
        self._common = dict(common)
        self._values: dict[str, float] = {}
        self._protocols: dict[str, dict[str, Any]] = {}

    def add(self, key: str, value: float, protocol: Protocol) -> None:
        """Adds a finite number under a new key; `protocol` overrides what is common."""
        assert key not in self._values, key
        if not math.isfinite(value):
            raise ValueError(f"{key} is {value}")
        self._values[key] = float(value)
        self._protocols[key] = {**self._common, **protocol}

    @property
    def values(self) -> dict[str, float]:
        """All numbers in the order of their measurement."""
        return dict(self._values)

    @property
    def protocols(self) -> dict[str, dict[str, Any]]:
        """How each of them came, by the same keys."""
        return {key: dict(protocol) for key, protocol in self._protocols.items()}

    def write(self, metrics: Path, protocol: Path) -> None:
        """Writes both files, the metrics last."""
        write_json(protocol, self._protocols)
        write_json(metrics, self._values)
