"""Offsets of the files in tar archives, so that each can be read alone."""

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from pipeline.core.errors import UserError
from pipeline.data.sources.files import Directory
from pipeline.data.sources.source import Items, Unreadable

_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive."""

    name: str
    offset: int
    """Of its content, in the archive's file."""
    bytes: int


def members(file: BinaryIO, name: str) -> Iterator[Member]:
    """The regular files of an archive without compression, in their order.

    `file` may lie in another: offsets count from its own beginning. Raises UserError that names the
    archive where it is damaged, cut short or compressed.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                if member.isfile():
                    yield Member(member.name.removeprefix("./"), member.offset_data, member.size)
            end = archive.offset
    except tarfile.TarError as error:
        raise UserError(
            f"data.path: {name} is no tar archive without compression ({error}); unpack what is "
            "packed, fetch anew what is damaged"
        ) from None
    # tarfile treats a damaged header, and the end of the file, as the end of the archive.
    file.seek(min(end, size))
    if file.read(_BLOCK) != bytes(_BLOCK):
        raise UserError(
            f"data.path: {name} is damaged or cut short at byte {end} of {size}; fetch it anew"
        )


@dataclass(frozen=True)
class TarReader:
    """Reads items whose `where` is (archive's number, offset, size, state of the archive...)."""

    directory: Directory
    archives: tuple[str, ...]

    def __call__(self, items: Items) -> Iterator[bytes | Unreadable]:
        if not len(items):
            return
        changes = np.flatnonzero(np.diff(items.where[:, 0])) + 1
        for rows in np.split(items.where, changes):
            with self.directory.path(self.archives[rows[0, 0]]).open("rb") as file:
                for _, offset, size in rows[:, :3].tolist():
                    yield _content(file, offset, size)


def _content(file: BinaryIO, offset: int, size: int) -> bytes | Unreadable:
    try:
        content = os.pread(file.fileno(), size, offset)
    except OSError as error:
        return Unreadable(f"cannot be read ({error.strerror})")
    return content if len(content) == size else Unreadable("the archive ends before it does")
