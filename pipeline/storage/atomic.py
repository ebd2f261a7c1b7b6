"""Files that appear whole or not at all."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yields `<path>.tmp` to write; at the end it is synced to disk and renamed to `path`.

    After an exception the temporary file is gone and `path` is as it was. The folder is made where
    it is missing. One writer a path at a time: a killed writer's leftover is overwritten.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    tmp = path.with_name(path.name + ".tmp")
    try:
        yield tmp
        _sync(tmp)
        os.replace(tmp, path)
    except BaseException:
        tmp.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Writes a file atomically."""
    with atomic_write(path) as tmp:
        tmp.write_bytes(content)


def write_text(path: str | Path, text: str) -> None:
    """Writes a UTF-8 file atomically, line ends as they are."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | Path, content: Any) -> None:
    """Writes indented JSON atomically; NaN and infinity raise ValueError: JSON has none."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def _sync(path: Path) -> None:
    # A rename is durable only once the folder that holds the name is on disk too.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
