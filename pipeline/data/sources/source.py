"""What a source of images is: a list of items in a fixed order, and a way to read some of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True, slots=True)
class Items:
    """N images by name, without their pixels."""

    keys: Sequence[str]
    """[N], what names an image whatever else is in the data set."""
    labels: npt.NDArray[np.int32]
    """[N]; -1 for an image whose class is not known, which cannot be used."""
    where: npt.NDArray[np.int64]
    """[N, k], for the source's reader; it changes where the content may have changed."""

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, rows: npt.NDArray[np.int64]) -> "Items":
        """The items at `rows`, in that order."""
        return Items(
            keys=[self.keys[row] for row in rows.tolist()],
            labels=self.labels[rows],
            where=self.where[rows],
        )


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands where an item's content would."""

    reason: str


Raw = bytes | npt.NDArray[np.uint8]
"""A file's content, or pixels uint8 [H, W] or [H, W, 3]."""

Reader = Callable[[Items], Iterator[Raw | Unreadable]]
"""Yields the content of each item; it can be sent to another process."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Labelled images that can be read in any order and by many processes at once."""

    name: str
    """Name of the data set, for people."""
    class_names: tuple[str, ...]
    """Names of labels 0, 1, ..."""
    items: Items
    """In an order that depends on the images' names alone."""
    read: Reader
    origin: Mapping[str, Any]
    """Where the images are."""
    preprocessing: Mapping[str, Any]
    """What the source did to them; `versions` names the libraries that did it."""
    note: str = ""
    """What a person should know about the reading; empty when there is nothing."""
    warnings: tuple[str, ...] = ()
    """What looks wrong; each a sentence without its full stop."""
    is_tiny: bool = False
    """Whether its images are known to be small, so that enlarging them is no surprise."""
