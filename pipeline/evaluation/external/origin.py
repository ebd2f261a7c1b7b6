"""What images of any origin are: a way to go through them, as often as one likes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipeline.data.sources.source import Raw, Unreadable

Label = int | str | tuple[str, ...] | None
"""A number, a name, the folders that an image lies in from the outermost on, or none."""


@dataclass(frozen=True, slots=True)
class Found:
    """One image as its place holds it."""

    key: str
    """What names it within its place."""
    raw: Raw | Unreadable
    label: Label


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """The images at one place."""

    path: str
    """As the user gave it."""
    layout: str
    """What was found there, for the protocol."""
    read: Callable[[], Iterator[Found]]
    """Goes through all images, in the same order every time."""
    class_names: tuple[str, ...] | None = None
    """Names of the labels 0, 1, ..., where the place itself says so."""
    note: str = ""
    """What a person should know about the reading; empty when there is nothing."""
