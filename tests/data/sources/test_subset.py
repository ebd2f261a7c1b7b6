"""Parts of a source, by class and by number."""

from collections import Counter

import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.data.sources.arrays import array_source
from pipeline.data.sources.select import open_source, with_classes, with_limit
from pipeline.data.sources.source import Source


def _source(labels: list[int], names: tuple[str, ...]) -> Source:
    images = [np.full((2, 2), index % 256, np.uint8) for index in range(len(labels))]
    keys = [f"{index}.png" for index in range(len(labels))]
    return array_source("made", names, keys, images, labels, origin={}, preprocessing={})


def test_classes_keep_the_sources_order_and_their_images() -> None:
    source = _source([0, 1, 2, 1, -1, 0, 2], ("cat", "dog", "eel"))
    part = with_classes(source, ["eel", "cat"])
    assert part.class_names == ("cat", "eel")
    assert part.origin["classes"] == "2 of 3"
    assert part.items.keys == ["0.png", "2.png", "5.png", "6.png"]
    assert part.items.labels.tolist() == [0, 1, 0, 1]
    assert [int(image[0, 0]) for image in part.read(part.items)] == [0, 2, 5, 6]  # type: ignore[index]


def test_unknown_classes_are_refused_with_the_nearest() -> None:
    source = _source([0, 1, 2], ("tabby cat", "dog", "dog"))
    with pytest.raises(UserError, match="no class 'taby cat'; the nearest is 'tabby cat'"):
        with_classes(source, ["taby cat"])
    with pytest.raises(UserError, match="there are tabby cat, dog"):
        with_classes(source, ["xyzzy"])
    with pytest.raises(UserError, match="2 classes are called 'dog'"):
        with_classes(source, ["dog"])


def test_limits_are_nested_and_keep_the_shares() -> None:
    labels = [0] * 600 + [1] * 300 + [2] * 99 + [3]
    source = _source(labels, ("a", "b", "c", "d"))
    before: set[str] = set()
    for limit in (4, 10, 100, 101, 500, 999, 1000, 5000):
        part = with_limit(source, limit)
        keys = part.items.keys
        assert len(keys) == min(limit, 1000)
        assert list(keys) == sorted(keys, key=lambda key: int(key.partition(".")[0]))
        assert before <= set(keys)
        before = set(keys)
        counts = Counter(part.items.labels.tolist())
        assert min(counts[label] for label in range(4)) >= 1
        for label, share in ((0, 0.6), (1, 0.3), (2, 0.099)):
            assert abs(counts[label] - share * len(keys)) <= 2


def test_a_limit_depends_on_the_keys_alone() -> None:
    whole = open_source("digits", limit=300)
    some = open_source("digits", classes=["3", "7"], limit=60)
    assert set(some.items.keys) & set(whole.items.keys)
    assert whole.origin["limit"] == "300 of 1797"
    again = open_source("digits", limit=300)
    assert again.items.keys == whole.items.keys
    assert whole.items.keys != [f"digits/{index:05}" for index in range(300)]
