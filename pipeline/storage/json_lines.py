"""Files that grow line by line; a process that is killed may leave the last line incomplete."""

import os
from io import FileIO
from pathlib import Path

_BLOCK_BYTES = 65536


def append_line(file: FileIO, line: str) -> None:
    """Writes all of `line`, newline included: on an almost full disk a write may be partial."""
    rest = line.encode()
    while rest:
        rest = rest[file.write(rest) :]


def complete_lines(content: bytes) -> list[bytes]:
    """The lines without their newlines; an incomplete last one is left out."""
    return content.split(b"\n")[:-1]


def cut_torn_line(path: Path) -> None:
    """Removes an incomplete last line from the file."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        complete = size
        while complete > 0:
            start = max(0, complete - _BLOCK_BYTES)
            file.seek(start)
            newline = file.read(complete - start).rfind(b"\n")
            if newline >= 0:
                complete = start + newline + 1
                break
            complete = start
        if complete < size:
            file.truncate(complete)
