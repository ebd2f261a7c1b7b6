"""Errors of a full disk as one sentence with the cure."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.core.errors import ObstacleError

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def explain_full_disk(path: Path, num_bytes: int, cure: str) -> Iterator[None]:
    """A context in which `path` of about `num_bytes` is written.

    Raises ObstacleError, which ends in `cure`, when the disk or the user's quota is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise ObstacleError(
            f"{path.parent} has no room for {path.name}: it needs {num_bytes / 1e6:.1f} MB and "
            f"{_free_megabytes(path.parent)} are free; {cure}"
        ) from error


@contextmanager
def explain_full_folder(folder: Path, cure: str) -> Iterator[None]:
    """The same for a context in which anything below `folder` is written."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise ObstacleError(
            f"{folder} has no room left: {_free_megabytes(folder)} are free; {cure}"
        ) from error


def _free_megabytes(folder: Path) -> str:
    return f"{shutil.disk_usage(folder).free / 1e6:.1f} MB"
