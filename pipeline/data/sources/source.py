"""What a source of images is."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Sample = tuple[str, npt.NDArray[np.uint8], int]
"""Key, image uint8 [H, W, C], label."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Images of one shape, read anew by every call of `samples`."""

    name: str
    """Name of the data set, for people."""
    class_names: tuple[str, ...]
    """Names of labels 0, 1, ..."""
    samples: Callable[[], Iterator[Sample]]
    """Yields every sample once, lazily, in an order that depends on the images' names alone."""
    origin: Mapping[str, Any]
    """Where the images are."""
    preprocessing: Mapping[str, Any]
    """What is done to them; `versions` names the libraries that do it."""
    note: str = ""
    """What a person should know about the reading; empty when there is nothing."""
