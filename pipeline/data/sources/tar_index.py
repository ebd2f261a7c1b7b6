"""Where the files of tar archives are, so that each can be read alone."""

import functools
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from pipeline.data.sources.files import Place
from pipeline.data.sources.source import Items, Unreadable
from pipeline.errors import UserError

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
    # tarfile takes a damaged header for the end, and would lose all that follows.
    file.seek(min(end, size))
    if file.read(_BLOCK).strip(b"\0") or end > size:
        raise UserError(
            f"data.path: {name} is damaged or cut short at byte {end} of {size}; fetch it anew"
        )


@dataclass(frozen=True)
class TarReader:
    """Reads items whose `where` is (archive's number, offset, size, state of the archive...)."""

    place: Place
    archives: tuple[str, ...]

    def __call__(self, items: Items) -> Iterator[bytes | Unreadable]:
        for number, offset, size, *state in items.where.tolist():
            file = _opened(self.place, self.archives[number], tuple(state))
            try:
                content = os.pread(file.fileno(), size, offset)
            except OSError as error:
                yield Unreadable(f"cannot be read ({error.strerror})")
                continue
            whole = len(content) == size
            yield content if whole else Unreadable("the archive ends before it does")


@functools.lru_cache(maxsize=4)
def _opened(place: Place, name: str, state: tuple[int, ...]) -> BinaryIO:
    return place.path(name).open("rb")
