"""Class numbers of the labels of external images, by the classes of the real images."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from pipeline.data.sources.external import Label

_MAX_CLASSES = 100_000


@dataclass(frozen=True, slots=True)
class Labelling:
    """How labels become classes."""

    numbers: Mapping[Label, int] | None
    """The class of each label; None where class-wise metrics cannot be had."""
    note: str
    """Source of the labels, or why there are none; for the protocol."""


def number_classes(labels: Collection[Label], class_names: Sequence[str] | None) -> Labelling:
    """The classes of all labels that occur.

    A number is the class's place, a text its name, and of an image's folders the outermost level
    counts that holds names of classes alone. One label that is no class leaves all images without.
    """
    if class_names is None:
        return Labelling(None, "none: the real images have no classes")
    if all(label in (None, ()) for label in labels):
        return Labelling(None, "none: the images have none")
    places = {name: place for place, name in enumerate(class_names)}
    if all(isinstance(label, tuple) for label in labels):
        return _from_folders([label for label in labels if isinstance(label, tuple)], places)
    numbers: dict[Label, int] = {}
    for label in labels:
        if isinstance(label, str) and label in places:
            numbers[label] = places[label]
        elif isinstance(label, int) and 0 <= label < len(class_names):
            numbers[label] = label
        else:
            shown = "some images have none" if label is None else f"{label!r} is no class"
            return Labelling(None, f"none: {shown} of the {len(class_names)} of the real images")
    return Labelling(numbers, "from the images' container")


def own_classes(labels: Collection[Label]) -> tuple[str, ...] | None:
    """Class names by the labels of real images themselves; None where they give none."""
    if not labels or None in labels:
        return None
    if all(isinstance(label, int) for label in labels):
        numbers = [label for label in labels if isinstance(label, int)]
        if min(numbers) < 0 or max(numbers) >= _MAX_CLASSES:
            return None
        return tuple(str(number) for number in range(max(numbers) + 1))
    if all(isinstance(label, str) for label in labels):
        return tuple(sorted(str(label) for label in labels))
    folders = {label[0] if isinstance(label, tuple) and label else "" for label in labels}
    return tuple(sorted(folders)) if len(folders) > 1 and "" not in folders else None


def _from_folders(labels: Sequence[tuple[str, ...]], places: Mapping[str, int]) -> Labelling:
    for level in range(min(len(label) for label in labels)):
        if all(label[level] in places for label in labels):
            return Labelling(
                {label: places[label[level]] for label in labels}, "by the names of the folders"
            )
    unknown = sorted({name for label in labels for name in label} - set(places))
    if unknown:
        return Labelling(None, f"none: folders such as {unknown[0]!r} are no classes")
    return Labelling(None, "none: the folders of the classes are not on one level")
