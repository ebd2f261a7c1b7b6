"""A part of a source: some of its classes, so many of its images."""

import dataclasses
import difflib
import hashlib
from collections.abc import Sequence

import numpy as np

from pipeline.core.errors import UserError
from pipeline.data.sources.source import Source


def with_classes(source: Source, names: Sequence[str]) -> Source:
    """The classes of these names alone, in the source's order.

    Raises UserError for an unknown name, with the nearest, and for one that several classes have.
    """
    for name in names:
        uses = source.class_names.count(name)
        if uses == 0:
            nearest = difflib.get_close_matches(name, source.class_names, n=1, cutoff=0.4)
            known = f"the nearest is {nearest[0]!r}" if nearest else _some(source.class_names)
            raise UserError(f"data.classes: there is no class {name!r}; {known}")
        if uses > 1:
            raise UserError(f"data.classes: {uses} classes are called {name!r}")
    chosen = [label for label, name in enumerate(source.class_names) if name in set(names)]
    numbers = np.full(len(source.class_names) + 1, -1, np.int32)  # the last is that of label -1
    numbers[chosen] = np.arange(len(chosen))
    labels = numbers[source.items.labels]
    items = dataclasses.replace(source.items, labels=labels).take(np.flatnonzero(labels >= 0))
    return dataclasses.replace(
        source,
        class_names=tuple(source.class_names[label] for label in chosen),
        items=items,
        origin={**source.origin, "classes": f"{len(chosen)} of {len(source.class_names)}"},
    )


def with_limit(source: Source, limit: int) -> Source:
    """At most `limit` images, by a hash of their keys; in the source's order.

    Stratified: each class keeps its share, rounded, and at least one image where the limit is not
    below the number of classes. A larger limit keeps all that a smaller one did.
    """
    items = source.items
    if len(items) <= limit:
        return source
    hashes = np.array([_hash(key) for key in items.keys], np.uint64)
    order = np.lexsort((hashes, items.labels))
    labels = items.labels[order]
    starts = np.flatnonzero(np.r_[True, labels[1:] != labels[:-1]])
    counts = np.diff(np.r_[starts, len(labels)])
    ranks = np.arange(len(labels)) - np.repeat(starts, counts)
    share = (ranks + 0.5) / np.repeat(counts, counts)
    share[ranks == 0] = 0.0
    chosen = order[np.lexsort((hashes[order], share))[:limit]]
    return dataclasses.replace(
        source,
        items=items.take(np.sort(chosen)),
        origin={**source.origin, "limit": f"{limit} of {len(items)}"},
    )


def _hash(key: str) -> int:
    digest = hashlib.blake2b(key.encode(), digest_size=8, person=b"sagan-limit").digest()
    return int.from_bytes(digest, "big")


def _some(names: Sequence[str]) -> str:
    return f"there are {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"
