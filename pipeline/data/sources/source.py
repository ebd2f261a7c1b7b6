"""A source of images: a list of items in a fixed order, and a reader of any of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import UserError


@dataclass(frozen=True, kw_only=True, slots=True)
class Items:
    """N images by name, without their pixels."""

    keys: Sequence[str]
    """[N], each image's name, which does not depend on the other images."""
    labels: npt.NDArray[np.int32]
    """[N]; -1 for an image of unknown class, which is rejected."""
    where: npt.NDArray[np.int64]
    """[N, k], position for the source's reader; differs where the content may have changed."""

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
    """In the place of an item's content that cannot be read."""

    reason: str


Raw = bytes | npt.NDArray[np.uint8]
"""A file's content, or pixels uint8 [H, W] or [H, W, 3]."""

Reader = Callable[[Items], Iterator[Raw | Unreadable]]
"""Yields the content of each item; can be pickled."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Labelled images that can be read in any order and by many processes at once."""

    name: str
    """Name of the data set, for display."""
    class_names: tuple[str, ...]
    """Names of labels 0, 1, ..."""
    items: Items
    """In an order that depends on the images' names only."""
    read: Reader
    origin: Mapping[str, Any]
    """Kind and path of the images."""
    preprocessing: Mapping[str, Any]
    """Conversions by the source; `versions` has those of the libraries."""
    note: str = ""
    """Remark for the user, such as files that were skipped; empty for none."""
    warnings: tuple[str, ...] = ()
    """Likely mistakes, each a sentence without its full stop."""
    is_tiny: bool = False
    """Whether the images are known to be small: then enlarging them is no warning."""


def number_labels(
    values: Sequence[int | str | None], names: Sequence[str] | None, path: str
) -> tuple[npt.NDArray[np.int32], tuple[str, ...]]:
    """Labels int32 [N] and the names of the classes.

    Numbers index `names`; without names each number or text that occurs is a class, sorted. A
    missing label, and -1, which the hub writes for one, becomes -1. Raises
    UserError for a number without a name, and for numbers among texts.
    """
    known = {value for value in values if value is not None and value != -1}
    if names is not None:
        strange = sorted(v for v in known if not isinstance(v, int) or not 0 <= v < len(names))
        if strange:
            raise UserError(
                f"data.path: {path} has label {strange[0]!r}, but names of {len(names)} classes"
            )
        labels = [-1 if value is None else int(value) for value in values]
        return np.array(labels, np.int32), tuple(names)
    if len({isinstance(value, int) for value in known}) > 1:
        raise UserError(f"data.path: {path} has both numbers and texts for labels; use one kind")
    order = {value: index for index, value in enumerate(sorted(known))}
    labels = [order.get(value, -1) if value is not None else -1 for value in values]
    return np.array(labels, np.int32), tuple(str(value) for value in order)
